package io.github.treeattention.examples.train;

import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.text.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;

/**
 * Text to learn from: windows of it, drawn by seed and step alone, so that a run can be taken up again anywhere. Its end is
 * held out.
 */
final class TrainingText {
    private static final String QUESTION = "What is the pass key? The pass key is";

    private final Tokenizer tokenizer;
    private final int[] ids;
    private final int trained;
    private final boolean[] endsLine;

    /** @param heldOut fraction at the end that no window touches */
    TrainingText(String text, Tokenizer tokenizer, double heldOut) {
        this.tokenizer = tokenizer;
        int[] withBos = tokenizer.encode(text);
        this.ids = Arrays.copyOfRange(withBos, 1, withBos.length);
        this.trained = (int) (ids.length * (1 - heldOut));
        this.endsLine = new boolean[tokenizer.vocabSize()];
        for (int id = 0; id < endsLine.length; id++) {
            byte[] bytes = tokenizer.tokenBytes(id);
            endsLine[id] = bytes.length > 0 && bytes[bytes.length - 1] == '\n';
        }
    }

    /** Tokens that windows are drawn from. */
    int trainedTokens() {
        return trained;
    }

    int heldOutTokens() {
        return ids.length - trained;
    }

    /** What ranks compare: all of them must read the same text. */
    String fingerprint() {
        return ids.length + "/" + Integer.toHexString(Arrays.hashCode(ids));
    }

    void requireLength(int length) {
        if (trained < length) {
            throw new InputException("the text must have a window of " + length + " tokens: it has " + trained
                    + ", without what is held out");
        }
    }

    /** The sequence of a step: a window after a begin-of-text token, or one with a pass key in it. */
    Sequence draw(TrainingPlan plan, int step, int index) {
        SplittableRandom random =
                new SplittableRandom(plan.seed() * 0x9E3779B97F4A7C15L + (long) step * plan.batch() + index);
        boolean passKey = random.nextDouble() < plan.passKeys();
        double stretch = 1 + random.nextDouble() * (plan.stretch() - 1);
        List<Integer> tokens = passKey ? passKey(plan.length() + 1, random) : window(plan.length() + 1, random);
        int[] read = new int[plan.length()];
        int[] targets = new int[plan.length()];
        long[] positions = new long[plan.length()];
        for (int i = 0; i < read.length; i++) {
            read[i] = tokens.get(i);
            targets[i] = tokens.get(i + 1);
            positions[i] = (long) (i * stretch);
        }
        return new Sequence(read, targets, positions);
    }

    /** Held-out windows, one after another. */
    List<Sequence> heldOut(int length) {
        List<Sequence> windows = new ArrayList<>();
        for (int from = trained; from + length <= ids.length; from += length) {
            List<Integer> tokens = new ArrayList<>(List.of(tokenizer.bosId()));
            append(tokens, from, length);
            int[] all = tokens.stream().mapToInt(Integer::intValue).toArray();
            long[] positions = new long[length];
            Arrays.setAll(positions, i -> i);
            windows.add(new Sequence(Arrays.copyOf(all, length), Arrays.copyOfRange(all, 1, length + 1), positions));
        }
        return windows;
    }

    private List<Integer> window(int length, SplittableRandom random) {
        List<Integer> tokens = new ArrayList<>(List.of(tokenizer.bosId()));
        append(tokens, random.nextInt(trained - length + 2), length - 1);
        return tokens;
    }

    private void append(List<Integer> tokens, int from, int count) {
        for (int i = from; i < from + count; i++) {
            tokens.add(ids[i]);
        }
    }

    /** A window with a key after one of its lines, and the question and answer at its end. */
    private List<Integer> passKey(int length, SplittableRandom random) {
        String key = String.valueOf(10_000 + random.nextInt(90_000));
        int[] needle = tokenizer.encode("The pass key is " + key + ". Remember it. " + key + " is the pass key.\n");
        int[] end = tokenizer.encode("\n" + QUESTION + " " + key + ".\n");
        int room = length - 1 - (needle.length - 1) - (end.length - 1);
        if (room < 1) {
            return window(length, random);
        }
        int from = random.nextInt(trained - room + 1);
        int split = random.nextInt(room + 1);
        while (split > 0 && !endsLine[ids[from + split - 1]]) {
            split--;
        }
        List<Integer> tokens = new ArrayList<>(List.of(tokenizer.bosId()));
        append(tokens, from, split);
        Arrays.stream(needle).skip(1).forEach(tokens::add);
        append(tokens, from + split, room - split);
        Arrays.stream(end).skip(1).forEach(tokens::add);
        return tokens;
    }
}
