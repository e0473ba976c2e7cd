package io.github.treeattention.nativeops.ptx;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * An opcode with its modifiers, e.g. {@code ld.global.nc.v4.u32}. A decoder takes every part that it understands; what is
 * left over makes the instruction unsupported, so that no modifier is ignored.
 */
final class Opcode {
    private final String text;
    private final String base;
    private final List<String> left;

    Opcode(String text) {
        this.text = text;
        List<String> parts = Arrays.asList(text.split("\\.", -1));
        this.base = parts.get(0);
        this.left = new ArrayList<>(parts.subList(1, parts.size()));
    }

    String text() {
        return text;
    }

    String base() {
        return base;
    }

    /** Takes the modifier if it is there. */
    boolean take(String modifier) {
        return left.remove(modifier);
    }

    /** Takes the modifier, which has to be there. */
    void expect(String modifier) {
        if (!take(modifier)) {
            throw new UnsupportedPtx(base + " without ." + modifier);
        }
    }

    /** Takes whichever of these modifiers is there; exactly one has to be. */
    String takeOneOf(String... choices) {
        for (String choice : choices) {
            if (take(choice)) {
                return choice;
            }
        }
        throw new UnsupportedPtx(base + " with none of " + String.join(", ", choices));
    }

    /** Takes the last part as a type. */
    PtxType takeType() {
        if (left.isEmpty()) {
            throw new UnsupportedPtx(base + " without a type");
        }
        return PtxType.of(left.remove(left.size() - 1));
    }

    /** Takes the next modifier in order. */
    String takeFirst() {
        if (left.isEmpty()) {
            throw new UnsupportedPtx(base + " without a modifier");
        }
        return left.remove(0);
    }

    void requireNothingLeft() {
        if (!left.isEmpty()) {
            throw new UnsupportedPtx("modifier ." + String.join(".", left));
        }
    }
}
