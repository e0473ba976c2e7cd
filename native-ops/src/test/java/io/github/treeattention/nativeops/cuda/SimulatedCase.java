package io.github.treeattention.nativeops.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.KernelTrial;
import io.github.treeattention.nativeops.ptx.Arithmetic;
import io.github.treeattention.nativeops.ptx.Counters;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;

/** One random problem through the provider's own code, its grids and its arguments, on the simulator, against float64. */
record SimulatedCase(String name, boolean backward, KernelTrial trial) {
    /** Pages of 8 keys make many tiles, and so several splits, of few keys. */
    private static final int SMALL_PAGE = 8;

    static SimulatedCase forward(String name, AttentionSpec spec, KvType type, int batch, int queries, int keys) {
        return of(name, false, spec, type, batch, queries, keys, 16, false);
    }

    static SimulatedCase of(
            String name,
            boolean backward,
            AttentionSpec spec,
            KvType type,
            int batch,
            int queries,
            int keys,
            int page,
            boolean masked) {
        return new SimulatedCase(
                name, backward, new KernelTrial(spec, type, new KernelTrial.Sizes(batch, queries, keys, page), masked));
    }

    /** What decode serves: few rows a KV head, 64 or 128 dimensions. */
    static SimulatedCase decode(int heads, int kvHeads, int dim, KvType type, int batch, int keys) {
        AttentionSpec spec = AttentionSpec.of(heads, kvHeads, dim).withCausal(true);
        return of(
                "decode " + heads + "/" + kvHeads + " heads d" + dim + " " + type,
                false,
                spec,
                type,
                batch,
                1,
                keys,
                SMALL_PAGE,
                false);
    }

    /** Runs the case and returns what the launches did; memory that is left over is an error. */
    List<Counters> run(long schedule, Arithmetic arithmetic, long problem, UnaryOperator<String> edit) {
        SimulatedDriver driver = new SimulatedDriver(schedule, arithmetic, edit);
        CudaKernel kernel = new CudaKernel(driver);
        SplittableRandom random = new SplittableRandom(problem);
        if (backward) {
            trial.backward(kernel, random);
        } else {
            trial.forward(kernel, random);
        }
        assertEquals(0, driver.memory().allocations(), name + " leaves device memory");
        return driver.launches();
    }

    /** The kernels that it runs. */
    static Set<String> kernels(List<Counters> launches) {
        return launches.stream().map(Counters::kernel).collect(Collectors.toSet());
    }
}
