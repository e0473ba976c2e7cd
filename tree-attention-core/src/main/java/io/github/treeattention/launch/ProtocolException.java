package io.github.treeattention.launch;

import java.io.IOException;

/** The other side of a control connection broke the protocol, or does not speak it. Trying again is no use. */
final class ProtocolException extends IOException {
    private static final long serialVersionUID = 1L;

    ProtocolException(String message) {
        super(message);
    }
}
