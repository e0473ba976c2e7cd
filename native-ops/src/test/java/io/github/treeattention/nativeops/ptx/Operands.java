package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.Registers.File;
import io.github.treeattention.nativeops.ptx.Registers.Register;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.ToIntFunction;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The operands of one instruction, resolved against the kernel's registers, shared arrays and parameters. */
final class Operands {
    private static final Pattern SPECIAL = Pattern.compile("%(n?tid|n?ctaid)\\.[xyz]|%laneid");
    private static final Pattern ADDRESS = Pattern.compile("\\[\\s*([%\\w$]+)\\s*(?:\\+\\s*(-?\\w+)\\s*)?\\]");

    private final List<String> texts;
    private final Registers registers;
    private final Map<String, Integer> sharedArrays;
    private final Map<String, Integer> parameters;

    Operands(String text, Registers registers, Map<String, Integer> sharedArrays, Map<String, Integer> parameters) {
        this.texts = split(text);
        this.registers = registers;
        this.sharedArrays = sharedArrays;
        this.parameters = parameters;
    }

    /** An address: a register of either width, or none, plus a constant. */
    record Address(boolean wide, int register, long offset) {
        long of(Warp warp, int lane) {
            if (register < 0) {
                return offset;
            }
            return offset + (wide ? warp.b64[register + lane] : Integer.toUnsignedLong(warp.b32[register + lane]));
        }
    }

    int count() {
        return texts.size();
    }

    void requireCount(int wanted) {
        if (texts.size() != wanted) {
            throw new UnsupportedPtx("wanted " + wanted + " operands, got " + texts.size());
        }
    }

    String text(int i) {
        if (i >= texts.size()) {
            throw new UnsupportedPtx("no operand " + i);
        }
        return texts.get(i);
    }

    /** Operand {@code i} as a value of this type: the place of lane 0 in the file of that width. */
    int value(int i, PtxType type) {
        return value(text(i), type);
    }

    int value(String text, PtxType type) {
        File wanted = File.of(type);
        Register register = registers.find(text);
        if (register != null) {
            if (register.file() != wanted) {
                throw new UnsupportedPtx("operand " + text + " is " + register.file() + ", not " + wanted);
            }
            return register.at();
        }
        if (wanted == File.B64) {
            return registers.constant64(immediate(text, type));
        }
        if (SPECIAL.matcher(text).matches()) {
            return registers.special(text);
        }
        long value = immediate(text, type);
        return registers.constant32((int) (wanted == File.B16 ? value & 0xffff : value));
    }

    /** A register to write. */
    int target(int i, PtxType type) {
        return target(text(i), type);
    }

    int target(String text, PtxType type) {
        if (text.equals("_")) {
            return registers.fresh(File.of(type)).at();
        }
        if (registers.find(text) == null) {
            throw new UnsupportedPtx("unknown register " + text);
        }
        return value(text, type);
    }

    /** The register of operand {@code i}, whatever its width. */
    Register register(String text) {
        Register register = registers.find(text);
        if (register == null) {
            throw new UnsupportedPtx("unknown register " + text);
        }
        return register;
    }

    int predicate(String text) {
        return value(text, PtxType.PRED);
    }

    /** A vector of registers in braces, or one register alone. */
    int[] vector(int i, ToIntFunction<String> resolve) {
        return names(i).stream().mapToInt(resolve).toArray();
    }

    List<String> names(int i) {
        String text = text(i);
        return isVector(i) ? split(text.substring(1, text.length() - 1)) : List.of(text);
    }

    boolean isVector(int i) {
        return text(i).startsWith("{");
    }

    Address address(int i) {
        Matcher matcher = addressText(i);
        long offset = matcher.group(2) == null ? 0 : Long.decode(matcher.group(2));
        Register register = registers.find(matcher.group(1));
        if (register == null) {
            return new Address(false, -1, offset + place(matcher.group(1)));
        }
        if (register.file() != File.B32 && register.file() != File.B64) {
            throw new UnsupportedPtx("address in a register of " + register.file());
        }
        return new Address(register.file() == File.B64, register.at(), offset);
    }

    /** Where a shared array lies in shared memory, or a parameter in the block of parameters. */
    private int place(String name) {
        Integer place = sharedArrays.getOrDefault(name, parameters.get(name));
        if (place == null) {
            throw new UnsupportedPtx("address " + name);
        }
        return place;
    }

    private Matcher addressText(int i) {
        Matcher matcher = ADDRESS.matcher(text(i));
        if (!matcher.matches()) {
            throw new UnsupportedPtx("address " + text(i));
        }
        return matcher;
    }

    int integer(int i) {
        return Integer.decode(text(i));
    }

    private long immediate(String text, PtxType type) {
        if (type == PtxType.PRED) {
            throw new UnsupportedPtx("predicate " + text);
        }
        Integer place = sharedArrays.getOrDefault(text, parameters.get(text));
        if (place != null) {
            return place;
        }
        if (text.equals("WARP_SZ")) {
            return Warp.LANES;
        }
        if (text.matches("0[fF][0-9a-fA-F]{8}") && type.bytes() == 4) {
            return Integer.parseUnsignedInt(text.substring(2), 16);
        }
        if (text.matches("0[dD][0-9a-fA-F]{16}") && type.bytes() == 8) {
            return Long.parseUnsignedLong(text.substring(2), 16);
        }
        if (type.isFloat() && type.bytes() > 2) {
            throw new UnsupportedPtx("operand " + text + " as " + type);
        }
        String digits = text.replaceFirst("^-", "").replaceFirst("[uU]$", "");
        if (!digits.matches("0[xX][0-9a-fA-F]+|\\d+")) {
            throw new UnsupportedPtx("operand " + text);
        }
        long value = digits.matches("0[xX].*")
                ? Long.parseUnsignedLong(digits.substring(2), 16)
                : Long.parseUnsignedLong(digits);
        return text.startsWith("-") ? -value : value;
    }

    /** Splits at commas outside braces and brackets. */
    private static List<String> split(String text) {
        List<String> parts = new ArrayList<>();
        int depth = 0;
        int from = 0;
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '{' || c == '[') {
                depth++;
            } else if (c == '}' || c == ']') {
                depth--;
            } else if (c == ',' && depth == 0) {
                parts.add(text.substring(from, i).strip());
                from = i + 1;
            }
        }
        if (!text.substring(from).isBlank()) {
            parts.add(text.substring(from).strip());
        }
        return parts;
    }
}
