package io.github.treeattention.examples.cli;

import io.github.treeattention.cache.KvType;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Tokenizer;
import io.github.treeattention.examples.text.Tokenizers;
import io.github.treeattention.examples.train.Training;
import io.github.treeattention.examples.train.TrainingPlan;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.function.Consumer;

/**
 * A training run.
 *
 * @param text absolute path of the text to learn from
 * @param base absolute path of the model to begin with, or null to begin afresh
 * @param tokenizer absolute path of a tokenizer.json
 * @param config shape of the model
 * @param plan what decides the result
 * @param out absolute path of the folder for checkpoints and the model
 * @param resume absolute path of the checkpoint to go on from, or null to begin
 * @param checkpointEvery steps between checkpoints
 * @param exportType how the finished model's weights are stored
 * @param kernel the attention kernel's name, or null for the best usable one
 * @param deadlineSeconds how long one collective call may take
 */
record TrainingJob(
        String text,
        String base,
        String tokenizer,
        LlamaConfig config,
        TrainingPlan plan,
        String out,
        String resume,
        int checkpointEvery,
        KvType exportType,
        String kernel,
        int deadlineSeconds)
        implements RankJob {

    @Override
    public String model() {
        return base == null ? text : base;
    }

    @Override
    public Task load() {
        String source = TextFile.read("--text", Path.of(text));
        Tokenizer loaded = Tokenizers.ofFile(Path.of(tokenizer), config);
        LlamaModel model = base == null || resume != null ? null : ModelLoader.load(Path.of(base));
        return new Task() {
            @Override
            public Map<String, String> fingerprint() {
                return Map.of(
                        "version", Version.of("treeattn"),
                        "plan", plan.toString(),
                        "config", config.toString(),
                        "text", Integer.toHexString(source.hashCode()),
                        "model", model == null ? "" : model.fingerprint());
            }

            @Override
            public RankEvent.Last run(Communicator communicator, Consumer<RankEvent> tell) {
                AttentionKernel chosen = kernel == null ? AttentionKernels.choose() : AttentionKernels.named(kernel);
                Training training = new Training(plan, config, source, loaded, communicator, chosen);
                begin(training, model);
                return train(training, communicator, tell);
            }
        };
    }

    private void begin(Training training, LlamaModel model) {
        if (resume != null) {
            training.resume(Path.of(resume));
        } else if (model != null) {
            training.beginWith(model);
        } else {
            training.beginAfresh();
        }
    }

    private RankEvent.Trained train(Training training, Communicator communicator, Consumer<RankEvent> tell) {
        int rank = communicator.rank();
        tell.accept(new RankEvent.Began(rank, training.step(), training.weightBytes(), training.activationBytes()));
        int steps = plan.schedule().steps();
        while (training.step() < steps) {
            Training.Step step = training.next();
            if (rank == 0) {
                tell.accept(new RankEvent.Stepped(step));
            }
            if (step.step() % checkpointEvery == 0 || step.step() == steps) {
                Path file = RunFolder.checkpoint(Path.of(out), step.step());
                training.save(file);
                if (rank == 0) {
                    RunFolder.prune(Path.of(out));
                    tell.accept(new RankEvent.Saved(step.step(), file.toString()));
                }
            }
        }
        double heldOut = training.heldOutLoss();
        training.export(RunFolder.model(Path.of(out)), exportType, tokenizerContent());
        return new RankEvent.Trained(
                rank,
                Double.isNaN(heldOut) ? null : heldOut,
                training.weightBytes(),
                training.activationBytes(),
                communicator.traffic().payloadBytes());
    }

    private byte[] tokenizerContent() {
        try {
            return Files.readAllBytes(Path.of(tokenizer));
        } catch (IOException failure) {
            throw new UncheckedIOException("the tokenizer could not be read: " + tokenizer, failure);
        }
    }
}
