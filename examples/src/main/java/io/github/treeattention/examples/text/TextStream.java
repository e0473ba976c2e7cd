package io.github.treeattention.examples.text;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.util.Objects;

/**
 * Turns ids into text one by one and never hands out half a character: bytes wait until the UTF-8 sequence they belong to
 * is whole or can no longer become so. The pieces put together are the text of all bytes. Not thread-safe.
 */
public final class TextStream {
    private static final int LONGEST_REST = 3; // of an unfinished UTF-8 sequence

    private final Tokenizer tokenizer;
    private final CharsetDecoder decoder = StandardCharsets.UTF_8
            .newDecoder()
            .onMalformedInput(CodingErrorAction.REPLACE)
            .onUnmappableCharacter(CodingErrorAction.REPLACE);
    private byte[] rest = new byte[0];
    private boolean finished;

    TextStream(Tokenizer tokenizer) {
        this.tokenizer = Objects.requireNonNull(tokenizer, "tokenizer");
    }

    /** The text that this id completes; empty while a character is unfinished. */
    public String accept(int id) {
        return decode(tokenizer.tokenBytes(id), false);
    }

    /** What is left when no more ids come: U+FFFD for an unfinished character, else nothing. Ends the stream. */
    public String finish() {
        String last = decode(new byte[0], true);
        finished = true;
        return last;
    }

    private String decode(byte[] piece, boolean end) {
        if (finished) {
            throw new IllegalStateException("the stream was finished");
        }
        ByteBuffer in = ByteBuffer.allocate(rest.length + piece.length);
        in.put(rest).put(piece).flip();
        CharBuffer out = CharBuffer.allocate(in.remaining() + LONGEST_REST);
        decoder.decode(in, out, end);
        if (end) {
            decoder.flush(out);
        }
        rest = new byte[in.remaining()];
        in.get(rest);
        return out.flip().toString();
    }
}
