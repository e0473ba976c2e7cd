package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.train.Blocks;
import io.github.treeattention.examples.train.Schedule;
import io.github.treeattention.examples.train.TrainingPlan;
import picocli.CommandLine.Option;

/** How a model is trained. */
final class PlanOptions {
    @Option(
            names = "--length",
            defaultValue = "1024",
            description = "Tokens of a sequence, which the ranks share. Default: ${DEFAULT-VALUE}.")
    private int length;

    @Option(names = "--batch", defaultValue = "1", description = "Sequences of a step. Default: ${DEFAULT-VALUE}.")
    private int batch;

    @Option(names = "--steps", defaultValue = "1000", description = "Steps. Default: ${DEFAULT-VALUE}.")
    private int steps;

    @Option(
            names = "--seed",
            defaultValue = "0",
            description = "Seed of the first weights and of what is drawn from the text. Default: ${DEFAULT-VALUE}.")
    private long seed;

    @Option(names = "--lr", defaultValue = "0.001", description = "Highest learning rate. Default: ${DEFAULT-VALUE}.")
    private double rate;

    @Option(
            names = "--lr-last",
            defaultValue = "0.1",
            description = "Fraction of it at the end of a cosine. Default: ${DEFAULT-VALUE}.")
    private double last;

    @Option(names = "--warmup", description = "Steps of rising rate. Default: a tenth of all, at most 100.")
    private Integer warmup;

    @Option(names = "--decay", defaultValue = "0.1", description = "Weight decay. Default: ${DEFAULT-VALUE}.")
    private double decay;

    @Option(
            names = "--clip",
            defaultValue = "1",
            description = "Most that a gradient's norm may be. Default: ${DEFAULT-VALUE}.")
    private double clip;

    @Option(
            names = "--held-out",
            defaultValue = "0.03",
            description =
                    "Fraction of the text, at its end, to measure on and not train on. Default: ${DEFAULT-VALUE}.")
    private double heldOut;

    @Option(
            names = "--passkeys",
            defaultValue = "0",
            description = "Fraction of sequences with a pass key hidden in them. Default: ${DEFAULT-VALUE}.")
    private double passKeys;

    @Option(
            names = "--stretch",
            defaultValue = "1",
            description =
                    "Draw positions up to this far apart, so that a model learns of more positions than a sequence"
                            + " has. Default: ${DEFAULT-VALUE}.")
    private double stretch;

    @Option(
            names = "--shard",
            description = "Each rank holds a share of weights, gradients and optimizer instead of all of them.")
    private boolean sharded;

    @Option(
            names = "--block",
            defaultValue = "256",
            description = "Tokens that go through the dense layers together. Default: ${DEFAULT-VALUE}.")
    private int block;

    TrainingPlan plan() {
        try {
            Schedule schedule = new Schedule(rate, last, warmup != null ? warmup : Math.min(100, steps / 10), steps);
            return new TrainingPlan(
                    length,
                    batch,
                    seed,
                    schedule,
                    decay,
                    clip,
                    heldOut,
                    passKeys,
                    stretch,
                    sharded,
                    new Blocks(block, Blocks.defaults().tokens()));
        } catch (IllegalArgumentException wrong) {
            throw new InputException(wrong.getMessage(), wrong);
        }
    }
}
