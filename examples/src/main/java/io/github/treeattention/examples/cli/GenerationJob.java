package io.github.treeattention.examples.cli;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.examples.GenerationListener;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.model.ModelLoader;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/**
 * The continuation of a text.
 *
 * @param model absolute path of the model
 * @param promptIds ids of the prompt, begin-of-text included
 * @param maxTokens most tokens to generate
 * @param temperature 0 for greedy
 * @param topP probability mass to sample from, in (0, 1]
 * @param seed of the sampler
 * @param settings how the ranks attend together
 */
record GenerationJob(
        String model,
        List<Integer> promptIds,
        int maxTokens,
        double temperature,
        double topP,
        long seed,
        RankSettings settings)
        implements RankJob {

    @Override
    public int deadlineSeconds() {
        return settings.deadlineSeconds();
    }

    /** Tokens of the prompt and tokens to generate. */
    long positions() {
        return (long) promptIds.size() + maxTokens;
    }

    @Override
    public Task load() {
        LlamaModel loaded = ModelLoader.load(Path.of(model));
        return new Task() {
            @Override
            public Map<String, String> fingerprint() {
                return settings.fingerprint(loaded);
            }

            @Override
            public RankEvent.Last run(Communicator communicator, Consumer<RankEvent> tell) {
                return RankWork.run(GenerationJob.this, loaded, communicator, new Teller(tell));
            }
        };
    }

    /** Turns what a generation says into events. */
    private record Teller(Consumer<RankEvent> tell) implements GenerationListener {
        @Override
        public void prompt(int done, int total) {
            tell.accept(new RankEvent.Read(done, total));
        }

        @Override
        public void token(int id) {
            tell.accept(new RankEvent.Token(id));
        }
    }
}
