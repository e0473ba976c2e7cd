package io.github.treeattention.nativeops.ptx;

/** Blocks of a grid, or threads of a block. */
public record Dim(int x, int y, int z) {
    public static Dim of(int x) {
        return new Dim(x, 1, 1);
    }

    int count() {
        return Math.multiplyExact(Math.multiplyExact(x, y), z);
    }

    @Override
    public String toString() {
        return "(" + x + ", " + y + ", " + z + ")";
    }
}
