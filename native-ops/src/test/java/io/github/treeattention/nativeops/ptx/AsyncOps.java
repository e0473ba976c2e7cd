package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.AsyncCopies.Copy;
import io.github.treeattention.nativeops.ptx.Instruction.Op;
import io.github.treeattention.nativeops.ptx.Operands.Address;
import io.github.treeattention.nativeops.ptx.PtxFault.Rule;
import java.util.Map;

/** cp.async: copies from global to shared memory that go on while the thread does other things. */
final class AsyncOps {
    private AsyncOps() {}

    static void enter(Map<String, Decoder.Family> table) {
        table.put("cp", AsyncOps::copy);
    }

    private static Op copy(Opcode opcode, Operands operands) {
        opcode.expect("async");
        if (opcode.take("commit_group")) {
            operands.requireCount(0);
            return (warp, lanes) -> each(lanes, lane -> warp.copies.commit(lane));
        }
        if (opcode.take("wait_group")) {
            operands.requireCount(1);
            int left = operands.integer(0);
            return (warp, lanes) -> each(lanes, lane -> warp.copies.wait(warp, lane, left));
        }
        if (opcode.take("wait_all")) {
            operands.requireCount(0);
            return (warp, lanes) -> each(lanes, lane -> {
                warp.copies.commit(lane);
                warp.copies.wait(warp, lane, 0);
            });
        }
        return issue(opcode, operands);
    }

    private interface LaneAction {
        void run(int lane);
    }

    private static void each(int lanes, LaneAction action) {
        for (int lane = 0; lane < Warp.LANES; lane++) {
            if (Warp.has(lanes, lane)) {
                action.run(lane);
            }
        }
    }

    /** {@code cp.async.cg.shared.global [to], [from], size{, given}}: the bytes from {@code given} to {@code size} are zeros. */
    private static Op issue(Opcode opcode, Operands operands) {
        boolean l2Only = opcode.takeOneOf("ca", "cg").equals("cg");
        opcode.expect("shared");
        opcode.expect("global");
        int size = operands.integer(2);
        if (size != 16 && (l2Only || (size != 4 && size != 8))) {
            throw new UnsupportedPtx("cp.async of " + size + " bytes");
        }
        boolean partial = operands.count() == 4;
        operands.requireCount(partial ? 4 : 3);
        Address to = operands.address(0);
        Address from = operands.address(1);
        int given = partial ? operands.value(3, PtxType.U32) : -1;
        return (warp, lanes) -> {
            Counters counters = warp.block.counters;
            int reading = 0;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    warp.addresses[lane] = from.of(warp, lane);
                    reading |= given < 0 || warp.b32[given + lane] != 0 ? 1 << lane : 0;
                }
            }
            counters.globalRequest(warp, reading);
            int[] sources = new int[Warp.LANES];
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(reading, lane)) {
                    int bytes = given < 0 ? size : warp.b32[given + lane];
                    if (bytes < 0 || bytes > size) {
                        throw PtxFault.at(Rule.MEMORY, warp, lane, "cp.async of " + bytes + " bytes out of " + size);
                    }
                    sources[lane] = warp.block.global.readPart(warp, lane, warp.addresses[lane], bytes, size);
                    counters.copied(warp, bytes);
                }
            }
            MemoryOps.addresses(warp, lanes, to);
            MemoryOps.request(warp, lanes, "shared", size);
            SharedMemory shared = warp.block.shared;
            for (int lane = 0; lane < Warp.LANES; lane++) {
                if (Warp.has(lanes, lane)) {
                    int at = shared.index(warp, lane, warp.addresses[lane], size, size, "copies to");
                    shared.shadow.issue(warp, lane, at, size);
                    int bytes = !Warp.has(reading, lane) ? 0 : given < 0 ? size : warp.b32[given + lane];
                    warp.copies.add(lane, new Copy(at, sources[lane], size, bytes));
                }
            }
        };
    }
}
