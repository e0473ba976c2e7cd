package io.github.treeattention.collective;

/** A member said why it leaves, in place of the frame that was expected. */
final class FarewellException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final int blamedRank;

    FarewellException(int blamedRank, String reason) {
        super(reason);
        this.blamedRank = blamedRank;
    }

    int blamedRank() {
        return blamedRank;
    }
}
