package io.github.treeattention.examples.eval;

import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.text.Tokenizer;
import java.util.Locale;
import java.util.OptionalDouble;
import java.util.random.RandomGenerator;

/**
 * A long text with a random pass key at a random line, and a question for it at the end: the retrieval task that
 * kjv-llama was trained for.
 *
 * @param text the whole prompt
 * @param key five digits, or empty where none was hidden
 * @param line number of the key's line in the text, from 1; 0 where none was hidden
 * @param lines lines of the text
 */
public record PassKeyPrompt(String text, String key, int line, int lines) {
    public static final String QUESTION = "What is the pass key? The pass key is";

    /**
     * Cuts an excerpt of about {@code tokens} tokens out of a text and hides a key in it.
     *
     * @param question asked instead of the key, or null
     * @param depth where the key is hidden, 0 for the first line to 1 for the last; random if empty
     * @throws InputException if the text is too short for so many tokens, or there is no room for the key
     */
    public static PassKeyPrompt make(
            String source,
            Tokenizer tokenizer,
            int tokens,
            String question,
            OptionalDouble depth,
            RandomGenerator random) {
        String key = String.format(Locale.ROOT, "%05d", 10_000 + random.nextInt(90_000));
        String needle = "The pass key is " + key + ". Remember it. " + key + " is the pass key.";
        String end = question == null ? QUESTION : question;
        int frame = tokenizer.encode(needle + "\n" + end).length + 2;
        if (tokens < frame) {
            throw new InputException("a context must leave room for the key and the question: want at least " + frame
                    + " tokens, got " + tokens);
        }
        String[] lines = lines(excerpt(source, tokenizer, tokens, frame, random));
        int line = depth.isPresent()
                ? (int) Math.round(depth.getAsDouble() * lines.length)
                : random.nextInt(lines.length + 1);
        StringBuilder text = new StringBuilder();
        for (int i = 0; i <= lines.length; i++) {
            if (i == line) {
                text.append(needle).append('\n');
            }
            if (i < lines.length) {
                text.append(lines[i]).append('\n');
            }
        }
        return new PassKeyPrompt(text.append(end).toString(), key, line + 1, lines.length + 1);
    }

    public boolean answeredBy(String generated) {
        return generated.strip().startsWith(key);
    }

    /** Whole lines from a random line on, as many as fit. */
    private static String excerpt(String source, Tokenizer tokenizer, int wanted, int frame, RandomGenerator random) {
        int tokens = wanted - frame;
        String[] lines = lines(source);
        int[] lengths = new int[lines.length];
        int total = 0;
        for (int i = 0; i < lines.length; i++) {
            lengths[i] = tokenizer.encode(lines[i] + "\n").length - 1;
            total += lengths[i];
        }
        if (total < tokens) {
            throw new InputException("a context must not exceed the text that it is cut from, " + (total + frame)
                    + " tokens with key and question: got " + wanted);
        }
        int spare = total - tokens;
        int skip = spare == 0 ? 0 : random.nextInt(spare);
        StringBuilder text = new StringBuilder();
        int used = 0;
        for (int i = 0; i < lines.length; i++) {
            if (skip > 0) {
                skip -= lengths[i];
            } else if (used + lengths[i] <= tokens) {
                text.append(lines[i]).append('\n');
                used += lengths[i];
            } else {
                break;
            }
        }
        return text.toString();
    }

    private static String[] lines(String text) {
        return text.lines().toArray(String[]::new);
    }
}
