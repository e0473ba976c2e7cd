package io.github.treeattention.examples.model;

/** Which two elements of a head's row rotary position embedding turns together. */
public enum RopeStyle {
    /** Elements {@code (2i, 2i + 1)}, as the original LLaMA and llama2.c have it. */
    INTERLEAVED,
    /** Elements {@code (i, i + headDim / 2)}, "rotate_half", as Hugging Face checkpoints have it. */
    HALF_SPLIT
}
