package io.github.treeattention.nativeops;

import java.util.List;
import java.util.Locale;

/** Instruction-set tiers, lowest first, in the order of {@code ta_isa}. */
enum Isa {
    GENERIC(0),
    AVX2(1),
    AVX512(2);

    private final int code;

    Isa(int code) {
        this.code = code;
    }

    int code() {
        return code;
    }

    static Isa of(int code) {
        return List.of(values()).get(code);
    }

    /** As {@code TREE_ATTENTION_MAX_ISA} spells it. */
    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT);
    }
}
