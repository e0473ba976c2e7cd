package io.github.treeattention.collective.tcp;

import java.io.IOException;

/** The other end of a connection is there, but no link to it can be had: to try again is useless. */
final class LinkRefusedException extends IOException {
    private static final long serialVersionUID = 1L;

    LinkRefusedException(String message) {
        super(message);
    }
}
