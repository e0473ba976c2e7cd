package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.Instruction.Op;
import io.github.treeattention.nativeops.ptx.Operands.Address;
import io.github.treeattention.nativeops.ptx.PtxFault.Rule;
import io.github.treeattention.nativeops.ptx.Registers.File;
import io.github.treeattention.nativeops.ptx.Registers.Register;
import java.util.List;
import java.util.Map;

/** ld and st in parameter, global and shared memory. Local and constant memory are not simulated. */
final class MemoryOps {
    private MemoryOps() {}

    static void enter(Map<String, Decoder.Family> table) {
        table.put("ld", MemoryOps::load);
        table.put("st", MemoryOps::store);
    }

    private static Op load(Opcode opcode, Operands operands) {
        PtxType type = opcode.takeType();
        operands.requireCount(2);
        String space = opcode.take("param") ? "param" : space(opcode);
        int count = vector(opcode);
        if (space.equals("global")) {
            opcode.take("nc");
        }
        List<String> names = operands.names(0);
        requireCount(names, count);
        Register[] targets = names.stream().map(operands::register).toArray(Register[]::new);
        for (Register target : targets) {
            requireRoom(type, target);
        }
        Address address = operands.address(1);
        if (space.equals("param")) {
            return parameter(type, targets, address);
        }
        int bytes = type.bytes();
        int size = bytes * count;
        return (warp, lanes) -> {
            addresses(warp, lanes, address);
            Memory memory = request(warp, lanes, space, size);
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    int at = memory.read(warp, lane, warp.addresses[lane], size);
                    for (int i = 0; i < targets.length; i++) {
                        set(warp, lane, targets[i], type, memory.get(at + i * bytes, bytes));
                    }
                }
            }
        };
    }

    private static Op store(Opcode opcode, Operands operands) {
        PtxType type = opcode.takeType();
        operands.requireCount(2);
        String space = space(opcode);
        int count = vector(opcode);
        if (type.bytes() < Shadow.GRANULE) {
            throw new UnsupportedPtx("st of " + type);
        }
        List<String> names = operands.names(1);
        requireCount(names, count);
        int[] sources = operands.vector(1, name -> operands.value(name, type));
        Address address = operands.address(0);
        int bytes = type.bytes();
        int size = bytes * count;
        return (warp, lanes) -> {
            addresses(warp, lanes, address);
            Memory memory = request(warp, lanes, space, size);
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    int at = memory.write(warp, lane, warp.addresses[lane], size);
                    for (int i = 0; i < sources.length; i++) {
                        int source = sources[i] + lane;
                        memory.put(at + i * bytes, bytes, bytes == 8 ? warp.b64[source] : warp.b32[source]);
                    }
                }
            }
        };
    }

    /** The memory that an opcode names; without one, the address decides. */
    static String space(Opcode opcode) {
        return opcode.take("global") ? "global" : opcode.take("shared") ? "shared" : "generic";
    }

    static void addresses(Warp warp, int lanes, Address address) {
        for (int lane = 0; lane < Warp.LANES; lane++) {
            if (Warp.has(lanes, lane)) {
                warp.addresses[lane] = address.of(warp, lane);
            }
        }
    }

    /** Counts the request at {@link Warp#addresses} and returns the memory that has them; generic ones are made shared. */
    static Memory request(Warp warp, int lanes, String space, int size) {
        boolean shared = space.equals("shared") || (space.equals("generic") && inSharedWindow(warp, lanes));
        if (shared) {
            warp.block.counters.sharedRequest(warp, lanes, size);
            return warp.block.shared;
        }
        warp.block.counters.globalRequest(warp, lanes);
        return warp.block.global;
    }

    private static boolean inSharedWindow(Warp warp, int lanes) {
        int inside = 0;
        for (int lane = 0; lane < Warp.LANES; lane++) {
            if (Warp.has(lanes, lane) && SharedMemory.inWindow(warp.addresses[lane])) {
                inside |= 1 << lane;
                warp.addresses[lane] -= SharedMemory.WINDOW;
            }
        }
        if (inside != 0 && inside != lanes) {
            throw new UnsupportedPtx("an access to both memories at " + warp.current.where());
        }
        return inside != 0;
    }

    private static Op parameter(PtxType type, Register[] targets, Address address) {
        int size = type.bytes() * targets.length;
        return (warp, lanes) -> {
            byte[] parameters = warp.block.parameters;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    long at = address.of(warp, lane);
                    if (at < 0 || at + size > parameters.length || (at & (size - 1)) != 0) {
                        throw PtxFault.at(Rule.MEMORY, warp, lane, "reads " + size + " bytes of parameters at " + at);
                    }
                    for (int i = 0; i < targets.length; i++) {
                        long value = Memory.get(parameters, (int) at + i * type.bytes(), type.bytes());
                        set(warp, lane, targets[i], type, value);
                    }
                }
            }
        };
    }

    private static void set(Warp warp, int lane, Register target, PtxType type, long value) {
        long extended = type.extend(value);
        switch (target.file()) {
            case B16 -> warp.b32[target.at() + lane] = (int) extended & 0xffff;
            case B32 -> warp.b32[target.at() + lane] = (int) extended;
            default -> warp.b64[target.at() + lane] = extended;
        }
    }

    private static int vector(Opcode opcode) {
        return opcode.take("v2") ? 2 : opcode.take("v4") ? 4 : 1;
    }

    private static void requireCount(List<String> names, int count) {
        if (names.size() != count) {
            throw new UnsupportedPtx("wanted " + count + " registers, got " + names);
        }
    }

    /** A register may be wider than what is loaded into it, not narrower. */
    private static void requireRoom(PtxType type, Register target) {
        int room = target.file() == File.B64 ? 8 : target.file() == File.B32 ? 4 : target.file() == File.B16 ? 2 : 0;
        if (type == PtxType.PRED || room < type.bytes()) {
            throw new UnsupportedPtx("ld of " + type + " into " + target.file());
        }
    }
}
