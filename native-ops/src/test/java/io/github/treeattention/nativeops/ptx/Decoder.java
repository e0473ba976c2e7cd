package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.Instruction.Guard;
import io.github.treeattention.nativeops.ptx.Instruction.Kind;
import io.github.treeattention.nativeops.ptx.Instruction.Op;
import java.util.HashMap;
import java.util.Map;

/** Decodes instructions: control flow itself, everything else by the table of opcodes. */
final class Decoder {
    /** Decodes what an instruction does to the lanes that it runs for. */
    interface Family {
        Op decode(Opcode opcode, Operands operands);
    }

    private static final Map<String, Family> TABLE = new HashMap<>();

    static {
        IntegerOps.enter(TABLE);
        BitOps.enter(TABLE);
        FloatOps.enter(TABLE);
        ConvertOps.enter(TABLE);
        MoveOps.enter(TABLE);
        CompareOps.enter(TABLE);
        MemoryOps.enter(TABLE);
        AsyncOps.enter(TABLE);
        AtomicOps.enter(TABLE);
        MatrixOps.enter(TABLE);
        WarpOps.enter(TABLE);
    }

    private final Registers registers;
    private final Map<String, Integer> sharedArrays;
    private final Map<String, Integer> parameters;
    private final Map<String, Integer> labels;

    Decoder(
            Registers registers,
            Map<String, Integer> sharedArrays,
            Map<String, Integer> parameters,
            Map<String, Integer> labels) {
        this.registers = registers;
        this.sharedArrays = sharedArrays;
        this.parameters = parameters;
        this.labels = labels;
    }

    Instruction decode(Statement statement) {
        String text = statement.text();
        Guard guard = Guard.NONE;
        if (text.startsWith("@")) {
            int end = text.indexOf(' ');
            boolean negated = text.startsWith("@!");
            guard = new Guard(operands(text.substring(negated ? 2 : 1, end)).value(0, PtxType.PRED), negated);
            text = text.substring(end + 1);
        }
        int space = text.indexOf(' ');
        Opcode opcode = new Opcode(space < 0 ? text : text.substring(0, space));
        Operands operands = operands(space < 0 ? "" : text.substring(space + 1));
        Instruction instruction = decode(statement, opcode, operands, guard);
        opcode.requireNothingLeft();
        return instruction;
    }

    private Operands operands(String text) {
        return new Operands(text, registers, sharedArrays, parameters);
    }

    private Instruction decode(Statement statement, Opcode opcode, Operands operands, Guard guard) {
        return switch (opcode.base()) {
            case "bra" -> branch(statement, opcode, operands, guard);
            case "ret", "exit" -> Instruction.of(statement, opcode, guard, Kind.EXIT, null);
            case "bar" -> barrier(statement, opcode, operands, guard);
            case "shfl", "vote" -> collective(statement, opcode, operands, guard, mask(operands, operands.count() - 1));
            case "mma", "ldmatrix" -> collective(statement, opcode, operands, guard, Instruction.WHOLE_WARP);
            default -> Instruction.of(statement, opcode, guard, Kind.PLAIN, op(opcode, operands));
        };
    }

    private static int mask(Operands operands, int i) {
        return operands.value(i, PtxType.B32);
    }

    private static Op op(Opcode opcode, Operands operands) {
        Family family = TABLE.get(opcode.base());
        if (family == null) {
            throw new UnsupportedPtx("opcode " + opcode.base());
        }
        return family.decode(opcode, operands);
    }

    private static Instruction collective(
            Statement statement, Opcode opcode, Operands operands, Guard guard, int memberMask) {
        Op op = op(opcode, operands);
        return new Instruction(statement, opcode.text(), guard, Kind.COLLECTIVE, op, -1, memberMask);
    }

    private Instruction branch(Statement statement, Opcode opcode, Operands operands, Guard guard) {
        opcode.take("uni");
        operands.requireCount(1);
        Integer target = labels.get(operands.text(0));
        if (target == null) {
            throw new UnsupportedPtx("no label " + operands.text(0));
        }
        return new Instruction(statement, opcode.text(), guard, Kind.BRANCH, null, target, Instruction.WHOLE_WARP);
    }

    /** {@code bar.sync 0} and {@code bar.warp.sync} of a whole warp; named and partial barriers are not simulated. */
    private static Instruction barrier(Statement statement, Opcode opcode, Operands operands, Guard guard) {
        operands.requireCount(1);
        if (opcode.take("warp")) {
            opcode.expect("sync");
            int mask = mask(operands, 0);
            Op op = (warp, lanes) -> {
                if (lanes != (warp.existing() & ~warp.exited)) {
                    throw new UnsupportedPtx("bar.warp.sync of a part of a warp at " + statement.where());
                }
                warp.stamp = warp.block.clock.next();
            };
            return new Instruction(statement, opcode.text(), guard, Kind.COLLECTIVE, op, -1, mask);
        }
        opcode.expect("sync");
        if (!operands.text(0).equals("0")) {
            throw new UnsupportedPtx("barrier " + operands.text(0));
        }
        return Instruction.of(statement, opcode, guard, Kind.BARRIER, null);
    }
}
