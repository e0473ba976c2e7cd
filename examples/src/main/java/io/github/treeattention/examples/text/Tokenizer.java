package io.github.treeattention.examples.text;

import java.util.List;

/** Text to token ids and back. Implementations are immutable and may be shared by threads. */
public interface Tokenizer {

    /** The ids of a text, the begin-of-text token first. */
    int[] encode(String text);

    /** The text of ids; tokens that begin or end a text stand for nothing, and bytes that are no UTF-8 become U+FFFD. */
    String decode(int[] ids);

    /** A decoder for ids that arrive one by one. */
    default TextStream stream() {
        return new TextStream(this);
    }

    /**
     * The bytes that a token stands for; none for special tokens. They may be a part of a UTF-8 character.
     *
     * @throws IllegalArgumentException if the id is not {@code 0..vocabSize-1}
     */
    byte[] tokenBytes(int id);

    int vocabSize();

    /** The token that begins a text. */
    int bosId();

    /** Tokens that end one; may be empty. */
    List<Integer> eosIds();
}
