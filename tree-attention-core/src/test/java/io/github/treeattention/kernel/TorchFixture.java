package io.github.treeattention.kernel;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.attention.AttentionMask;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Dropout;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.testkit.Safetensors;
import io.github.treeattention.testkit.SharedData;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/** A problem that PyTorch solved in float64, gradients included. */
final class TorchFixture {
    final String name;
    final AttentionCase problem;
    final double[] out; // [batch][heads][queries][valueDim]
    final double[] lse; // [batch][heads][queries]
    final Safetensors tensors;

    private TorchFixture(JsonNode index, Path folder) {
        name = index.get("name").asText();
        tensors = Safetensors.read(folder.resolve(name + ".safetensors"));
        out = tensors.values("out");
        lse = tensors.values("lse");
        int batch = index.get("B").asInt();
        int kvHeads = index.get("Hkv").asInt();
        int keys = index.get("M").asInt();
        AttentionSpec spec = new AttentionSpec(
                index.get("Hq").asInt(),
                kvHeads,
                index.get("D").asInt(),
                index.get("Dv").asInt(),
                index.get("scale").asDouble(),
                index.get("causal").asBoolean(),
                0,
                0,
                Dropout.NONE);
        long[] positions = new long[keys];
        Arrays.setAll(positions, j -> j);
        long[] firstPositions = new long[batch];
        Arrays.fill(firstPositions, index.get("q_offset").asLong());
        List<AttentionCase.Keys> rows = new ArrayList<>();
        for (int b = 0; b < batch; b++) {
            rows.add(new AttentionCase.Keys(
                    positions, batchRow(tensors.floats("k"), batch, b), batchRow(tensors.floats("v"), batch, b)));
        }
        problem = new AttentionCase(
                spec,
                KvType.F32,
                index.get("N").asInt(),
                32,
                tensors.floats("q"),
                firstPositions,
                rows,
                AttentionMask.NONE);
    }

    /** All fixtures; none, with a printed reason, where the shared data is absent. */
    static List<TorchFixture> all() {
        Optional<Path> folder = SharedData.find("torch");
        List<TorchFixture> fixtures = new ArrayList<>();
        folder.ifPresent(path -> {
            try {
                for (JsonNode entry :
                        new ObjectMapper().readTree(path.resolve("index.json").toFile())) {
                    fixtures.add(new TorchFixture(entry, path));
                }
            } catch (IOException failure) {
                throw new UncheckedIOException(failure);
            }
        });
        return fixtures;
    }

    private static float[] batchRow(float[] all, int batch, int b) {
        int length = all.length / batch;
        return Arrays.copyOfRange(all, b * length, (b + 1) * length);
    }

    @Override
    public String toString() {
        return name;
    }
}
