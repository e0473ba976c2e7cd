package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.InputException;
import picocli.CommandLine.Option;

/** How the next token is chosen. */
final class SamplingOptions {
    @Option(
            names = "--temperature",
            paramLabel = "T",
            defaultValue = "0",
            description = "0 takes the likeliest token (greedy); higher is more random. Default: ${DEFAULT-VALUE}.")
    private double temperature;

    @Option(
            names = "--top-p",
            paramLabel = "P",
            defaultValue = "1",
            description = "Sample from the likeliest tokens that together have this probability, in (0, 1]."
                    + " Default: ${DEFAULT-VALUE}.")
    private double topP;

    @Option(
            names = "--seed",
            paramLabel = "S",
            defaultValue = "0",
            description = "Seed of the sampler; equal seeds give equal tokens. Default: ${DEFAULT-VALUE}.")
    private long seed;

    double temperature() {
        if (!(temperature >= 0) || Double.isInfinite(temperature)) {
            throw new InputException("--temperature must be 0 or more: got " + temperature);
        }
        return temperature;
    }

    double topP() {
        if (!(topP > 0 && topP <= 1)) {
            throw new InputException("--top-p must be in (0, 1]: got " + topP);
        }
        return topP;
    }

    long seed() {
        return seed;
    }
}
