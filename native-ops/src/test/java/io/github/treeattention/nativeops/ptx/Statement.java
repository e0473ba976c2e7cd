package io.github.treeattention.nativeops.ptx;

/** One statement of PTX text, on one line and without its semicolon, with the .cu line that the last .loc named (or ""). */
record Statement(Kind kind, String text, int ptxLine, String cu) {
    enum Kind {
        OPEN,
        CLOSE,
        LABEL,
        /** Starts with a dot. */
        DIRECTIVE,
        INSTRUCTION
    }

    String where() {
        return (cu.isEmpty() ? "" : cu + " ") + "ptx:" + ptxLine;
    }
}
