package io.github.treeattention.nativeops.ptx;

/** PTX that the simulator does not know; it never skips what it does not know. */
final class UnsupportedPtx extends IllegalArgumentException {
    private static final long serialVersionUID = 1;

    UnsupportedPtx(String message) {
        super(message);
    }

    UnsupportedPtx(String message, Throwable cause) {
        super(message, cause);
    }
}
