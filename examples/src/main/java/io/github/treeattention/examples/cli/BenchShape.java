package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.InputException;
import picocli.CommandLine.Option;

/** The shape of the attention that a benchmark times, and how often; the same options with defaults of each command's. */
final class BenchShape {
    @Option(names = "--heads", description = "Query heads. Default: ${DEFAULT-VALUE}.")
    private int heads;

    @Option(names = "--kv-heads", description = "Key/value heads. Default: ${DEFAULT-VALUE}.")
    private int kvHeads;

    @Option(names = "--dim", description = "Head dimension. Default: ${DEFAULT-VALUE}.")
    private int dim;

    @Option(names = "--runs", description = "Timed calls of each. Default: ${DEFAULT-VALUE}.")
    private int runs;

    /** With these defaults. */
    BenchShape(int heads, int kvHeads, int dim, int runs) {
        this.heads = heads;
        this.kvHeads = kvHeads;
        this.dim = dim;
        this.runs = runs;
    }

    /** Checks what was given. */
    void check() {
        if (heads < 1 || kvHeads < 1 || heads % kvHeads != 0 || dim < 1) {
            throw new InputException("--kv-heads must divide --heads, and --dim be at least 1: got " + kvHeads + ", "
                    + heads + " and " + dim);
        }
        if (runs < 1) {
            throw new InputException("--runs must be at least 1: got " + runs);
        }
    }

    /** A product of positive numbers; the largest long where it is larger. */
    static long product(long... factors) {
        long product = 1;
        for (long factor : factors) {
            boolean over = Math.multiplyHigh(product, factor) != 0 || product * factor < 0;
            product = over ? Long.MAX_VALUE : product * factor;
        }
        return product;
    }

    int heads() {
        return heads;
    }

    int kvHeads() {
        return kvHeads;
    }

    int dim() {
        return dim;
    }

    int runs() {
        return runs;
    }
}
