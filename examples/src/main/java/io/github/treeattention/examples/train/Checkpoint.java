package io.github.treeattention.examples.train;

import io.github.treeattention.cache.KvType;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.ModelExport;
import io.github.treeattention.examples.model.SafetensorsFile;
import io.github.treeattention.examples.model.SafetensorsWriter;
import io.github.treeattention.examples.model.TensorShape;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A run's state in a safetensors file: each weight in float32 under its name, Adam's moments of it beside it, and the run
 * in the metadata. It does not depend on how many ranks wrote it. Rank 0 writes, every rank reads.
 */
final class Checkpoint {
    private static final String STEP = "step";

    private Checkpoint() {}

    /**
     * All ranks call it; the file is there when it returns at rank 0. They meet after each part that has reached the disk, so that
     * no rank waits for longer than one part takes.
     */
    static void write(Path file, WeightStore store, Communicator communicator, int step, Map<String, String> run) {
        Map<String, String> metadata = new LinkedHashMap<>(run);
        metadata.put(STEP, String.valueOf(step));
        List<TensorShape> shapes = new ArrayList<>();
        for (WeightLayout.Unit unit : store.layout().units()) {
            for (WeightStore.Kind kind : WeightStore.Kind.values()) {
                unit.tensors().forEach(tensor -> shapes.add(tensor.withPrefix(kind.prefix())));
            }
        }
        boolean writes = communicator.rank() == 0;
        try (SafetensorsWriter writer = writes ? new SafetensorsWriter(file, KvType.F32, shapes, metadata) : null) {
            for (int unit = 0; unit < store.layout().count(); unit++) {
                for (WeightStore.Kind kind : WeightStore.Kind.values()) {
                    writeUnit(writer, store.layout().unit(unit), store.read(unit, kind), communicator);
                }
            }
            if (writes) {
                writer.commit();
            }
        } catch (IOException failure) {
            throw new UncheckedIOException("the checkpoint could not be written: " + file, failure);
        }
    }

    /** Writes the trained weights as a model; all ranks call it. */
    static void export(
            Path folder,
            LlamaConfig config,
            KvType type,
            byte[] tokenizer,
            WeightStore store,
            Communicator communicator) {
        boolean writes = communicator.rank() == 0;
        try (SafetensorsWriter writer = writes ? ModelExport.begin(folder, config, type, tokenizer) : null) {
            for (int unit = 0; unit < store.layout().count(); unit++) {
                ByteBuffer weights = store.read(unit, WeightStore.Kind.WEIGHTS);
                writeUnit(writer, store.layout().unit(unit), weights, communicator);
            }
            if (writes) {
                writer.commit();
            }
        } catch (IOException failure) {
            throw new UncheckedIOException("the model could not be written: " + folder, failure);
        }
    }

    private static void writeUnit(
            SafetensorsWriter writer, WeightLayout.Unit unit, ByteBuffer whole, Communicator communicator)
            throws IOException {
        FloatBuffer values = whole.asFloatBuffer();
        for (int tensor = 0; writer != null && tensor < unit.tensors().size(); tensor++) {
            int count = (int) unit.tensors().get(tensor).count();
            writer.write(values.slice(unit.offset(tensor), count));
        }
        if (writer != null) {
            writer.force();
        }
        if (communicator.worldSize() > 1) {
            communicator.barrier();
        }
    }

    /**
     * Reads a checkpoint into a store.
     *
     * @param run what the file's run must have been
     * @return the step after which it was written
     * @throws InputException if it was another run
     */
    static int read(Path file, WeightStore store, Map<String, String> run) {
        try (SafetensorsFile source = SafetensorsFile.open(file)) {
            Map<String, String> metadata = source.metadata();
            run.forEach((name, wanted) -> {
                if (!wanted.equals(metadata.get(name))) {
                    throw new InputException("a run is taken up with the settings that it began with: " + name + " was "
                            + metadata.get(name) + " in " + file + ", got " + wanted);
                }
            });
            for (int unit = 0; unit < store.layout().count(); unit++) {
                WeightLayout.Unit shape = store.layout().unit(unit);
                ByteBuffer whole =
                        ByteBuffer.allocateDirect(shape.padded() * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
                for (WeightStore.Kind kind : WeightStore.Kind.values()) {
                    whole.clear();
                    for (TensorShape tensor : shape.tensors()) {
                        source.readFloats(tensor.withPrefix(kind.prefix()), whole);
                    }
                    store.write(unit, kind, whole.clear());
                }
            }
            return step(metadata, file);
        } catch (IOException failure) {
            throw new UncheckedIOException("the checkpoint could not be read: " + file, failure);
        }
    }

    private static int step(Map<String, String> metadata, Path file) {
        String step = metadata.getOrDefault(STEP, "");
        if (!step.matches("\\d{1,9}")) {
            throw new InputException("a checkpoint says which step it is of: " + file + " says '" + step + "'");
        }
        return Integer.parseInt(step);
    }
}
