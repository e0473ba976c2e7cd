package io.github.treeattention.examples.train;

import io.github.treeattention.cache.KvType;
import io.github.treeattention.cache.SequenceSplit;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.text.Tokenizer;
import io.github.treeattention.kernel.AttentionKernel;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A training run, as one rank sees it. Every rank holds a zigzag slice of each sequence; all ranks call the same methods in
 * the same order. Not thread-safe.
 */
public final class Training {
    private final TrainingPlan plan;
    private final LlamaConfig config;
    private final Communicator communicator;
    private final TrainingText text;
    private final WeightStore store;
    private final SequencePass pass;
    private final Adam adam;
    private int step;

    /**
     * What a step did; the same bits on every rank but for the time.
     *
     * @param step from 1
     * @param loss mean over the step's tokens before its update, in nats
     * @param norm of the gradient before it was clipped
     * @param rate learning rate
     * @param tokensPerSecond of all ranks together
     */
    public record Step(int step, double loss, double norm, double rate, double tokensPerSecond) {}

    /**
     * A run that has not begun; {@link #beginWith}, {@link #beginAfresh} or {@link #resume} comes next.
     *
     * @throws InputException if the text is shorter than a sequence, or a sequence than two tokens a rank
     */
    public Training(
            TrainingPlan plan,
            LlamaConfig config,
            String source,
            Tokenizer tokenizer,
            Communicator communicator,
            AttentionKernel kernel) {
        this.plan = plan;
        this.config = config;
        this.communicator = communicator;
        int ranks = communicator.worldSize();
        if (plan.length() < 2 * ranks) {
            throw new InputException(
                    "a sequence must have two tokens or more for each rank: got " + plan.length() + " on " + ranks);
        }
        this.text = new TrainingText(source, tokenizer, plan.heldOut());
        text.requireLength(plan.length());
        WeightLayout layout = new WeightLayout(config, ranks);
        this.store = plan.sharded() ? new ShardedWeights(layout, communicator) : new WholeWeights(layout, communicator);
        SequenceSplit split = SequenceSplit.zigzag(plan.length(), ranks);
        this.pass = new SequencePass(config, communicator, kernel, store, split, plan.blocks());
        this.adam = Adam.withDecay(plan.decay());
    }

    /** Bytes that a rank will hold, before anything is allocated: weights, gradients and moments; activations. */
    public static long bytes(TrainingPlan plan, LlamaConfig config, int ranks) {
        WeightLayout layout = new WeightLayout(config, ranks);
        int rows = SequenceSplit.zigzag(plan.length(), ranks).slice(0).length();
        return (plan.sharded() ? ShardedWeights.bytes(layout, ranks) : WholeWeights.bytes(layout, ranks))
                + Activations.bytes(config, rows, plan.blocks());
    }

    /** Begins with a trained model's weights. */
    public void beginWith(LlamaModel model) {
        ModelWeights.copy(model, store);
    }

    /** Begins with weights drawn by the plan's seed. */
    public void beginAfresh() {
        FirstWeights.fill(store, config, plan.seed());
    }

    /**
     * Goes on after a checkpoint. On as many ranks as wrote it, everything that follows has the bits that it would have had.
     *
     * @throws InputException if it was written by a run with other settings
     */
    public void resume(Path checkpoint) {
        step = Checkpoint.read(checkpoint, store, settings());
    }

    /** Steps done. */
    public int step() {
        return step;
    }

    /** Bytes that this rank holds for weights, gradients and moments. */
    public long weightBytes() {
        return store.bytes();
    }

    /** Bytes that this rank holds for activations. */
    public long activationBytes() {
        return pass.activationBytes();
    }

    /**
     * Learns from the next step's sequences.
     *
     * @throws InputException on every rank, if loss or gradient are not finite
     */
    public Step next() {
        long start = System.nanoTime();
        step++;
        long tokens = (long) plan.length() * plan.batch();
        double loss = 0;
        for (int i = 0; i < plan.batch(); i++) {
            loss += pass.backward(text.draw(plan, step, i), 1.0 / tokens);
        }
        double norm = Math.sqrt(store.reduce());
        if (!Double.isFinite(loss) || !Double.isFinite(norm)) {
            throw new InputException("training has diverged at step " + step + ": loss " + loss / tokens + ", gradient "
                    + norm + "; take a lower learning rate");
        }
        double rate = plan.schedule().rate(step);
        store.update(adam, step, rate, norm > plan.clip() ? plan.clip() / norm : 1);
        double seconds = (System.nanoTime() - start) / 1e9;
        return new Step(step, loss / tokens, norm, rate, tokens / seconds);
    }

    /** Mean loss over the held-out text, in nats a token; NaN if it has no whole window. */
    public double heldOutLoss() {
        List<Sequence> windows = text.heldOut(plan.length());
        double loss = 0;
        for (Sequence window : windows) {
            loss += pass.loss(window);
        }
        return loss / ((double) plan.length() * windows.size());
    }

    /** Writes the run's state; at rank 0 the file is there when it returns. */
    public void save(Path checkpoint) {
        Checkpoint.write(checkpoint, store, communicator, step, settings());
    }

    /** Writes the model in Hugging Face's layout. */
    public void export(Path folder, KvType type, byte[] tokenizer) {
        Checkpoint.export(folder, config, type, tokenizer, store, communicator);
    }

    /** What must be the same on all ranks, and when a run is taken up again. */
    public Map<String, String> settings() {
        Map<String, String> settings = new LinkedHashMap<>();
        settings.put("model", config.toString());
        settings.put("text", text.fingerprint());
        settings.put("plan", plan.toString());
        return settings;
    }
}
