package io.github.treeattention.nativeops;

import java.util.Locale;

/** Instruction-set tiers, lowest first, in the order of {@code ta_isa}. */
enum Isa {
    GENERIC,
    AVX2,
    AVX512;

    static Isa of(int code) {
        return values()[code];
    }

    /** As {@code TREE_ATTENTION_MAX_ISA} spells it. */
    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT);
    }
}
