package io.github.treeattention.nativeops.ptx;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The registers of a kernel while it is parsed: names by scope, and where they lie in a warp's three files (predicates as
 * lane masks, 16 and 32 bits, 64 bits). Immediates, special registers and the addresses of shared arrays are registers that
 * are set before the kernel starts.
 */
final class Registers {
    private static final Pattern DECLARATION = Pattern.compile("\\.reg \\.(\\w+) (.+)");
    private static final Pattern RANGE = Pattern.compile("([%\\w$]+)<(\\d+)>");

    /** What a register holds. 16-bit values lie in the low half of a 32-bit slot, the high half 0. */
    enum File {
        PRED,
        B16,
        B32,
        B64;

        static File of(PtxType type) {
            return switch (type.bytes()) {
                case 0 -> PRED;
                case 2 -> B16;
                case 4 -> B32;
                case 8 -> B64;
                default -> throw new UnsupportedPtx("register of type " + type);
            };
        }
    }

    /** A register; {@code at} indexes lane 0 in its file, or the mask of a predicate. */
    record Register(File file, int at) {}

    private final Deque<Map<String, Register>> scopes = new ArrayDeque<>();
    private final Map<String, Integer> specials = new LinkedHashMap<>();
    private final Map<Integer, Integer> constants32 = new LinkedHashMap<>();
    private final Map<Long, Integer> constants64 = new LinkedHashMap<>();
    private int count32;
    private int count64;
    private int countPred;

    void open() {
        scopes.push(new HashMap<>());
    }

    void close() {
        scopes.pop();
    }

    /** {@code .reg .b32 %r<100>} or {@code .reg .b32 t, u}. */
    void declare(String directive) {
        Matcher declaration = DECLARATION.matcher(directive);
        if (!declaration.matches()) {
            throw new UnsupportedPtx("register declaration " + directive);
        }
        File file = File.of(PtxType.of(declaration.group(1)));
        for (String name : declaration.group(2).split(",", -1)) {
            Matcher range = RANGE.matcher(name.strip());
            if (range.matches()) {
                int count = Integer.parseInt(range.group(2));
                for (int i = 0; i < count; i++) {
                    scopes.element().put(range.group(1) + i, fresh(file));
                }
            } else {
                scopes.element().put(name.strip(), fresh(file));
            }
        }
    }

    Register fresh(File file) {
        return switch (file) {
            case PRED -> new Register(file, countPred++);
            case B16, B32 -> new Register(file, Warp.LANES * count32++);
            case B64 -> new Register(file, Warp.LANES * count64++);
        };
    }

    /** The declared register of this name, or null. */
    Register find(String name) {
        for (Map<String, Register> scope : scopes) {
            Register found = scope.get(name);
            if (found != null) {
                return found;
            }
        }
        return null;
    }

    int special(String name) {
        return specials.computeIfAbsent(name, n -> fresh(File.B32).at());
    }

    int constant32(int value) {
        return constants32.computeIfAbsent(value, v -> fresh(File.B32).at());
    }

    int constant64(long value) {
        return constants64.computeIfAbsent(value, v -> fresh(File.B64).at());
    }

    Map<String, Integer> specials() {
        return specials;
    }

    int predicates() {
        return countPred;
    }

    /** The 32-bit file as a warp starts: constants, and a pattern of garbage in the rest. */
    int[] image32() {
        int[] image = new int[Warp.LANES * count32];
        Arrays.fill(image, 0x7fbadbad);
        constants32.forEach((value, at) -> Arrays.fill(image, at, at + Warp.LANES, value));
        return image;
    }

    long[] image64() {
        long[] image = new long[Warp.LANES * count64];
        Arrays.fill(image, 0x7ffbadbad7fbadb1L);
        constants64.forEach((value, at) -> Arrays.fill(image, at, at + Warp.LANES, value));
        return image;
    }
}
