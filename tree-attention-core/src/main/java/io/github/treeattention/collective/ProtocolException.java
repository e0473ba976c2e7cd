package io.github.treeattention.collective;

/** A frame is not the one that must come next. */
final class ProtocolException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    ProtocolException(String rule, Object wanted, Object got) {
        super(rule + ": wanted " + wanted + ", got " + got);
    }
}
