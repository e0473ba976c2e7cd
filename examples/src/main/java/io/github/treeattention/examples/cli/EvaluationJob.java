package io.github.treeattention.examples.cli;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.examples.Generation;
import io.github.treeattention.examples.GenerationListener;
import io.github.treeattention.examples.LlamaDecoder;
import io.github.treeattention.examples.ProgressListener;
import io.github.treeattention.examples.eval.EvaluationCase;
import io.github.treeattention.examples.eval.PerplexityTask;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Sampler;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/**
 * Questions and texts that a model is tested on, one after another on the same ranks.
 *
 * @param model absolute path of the model
 * @param settings how the ranks attend together
 */
record EvaluationJob(String model, List<EvaluationCase> cases, RankSettings settings) implements RankJob {

    EvaluationJob {
        cases = List.copyOf(cases);
    }

    @Override
    public int deadlineSeconds() {
        return settings.deadlineSeconds();
    }

    private long positions() {
        return cases.stream().mapToLong(EvaluationCase::positions).max().orElse(1);
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
                try (LlamaDecoder decoder =
                        RankWork.decoder(settings, positions(), loaded, communicator, settings.loadKernel())) {
                    long kvBytes = 0;
                    for (int i = 0; i < cases.size(); i++) {
                        decoder.reset();
                        RankEvent.Answer answer = answer(i, decoder, communicator.rank() == 0);
                        kvBytes = Math.max(kvBytes, decoder.kvBytes());
                        if (communicator.rank() == 0) {
                            tell.accept(answer);
                        }
                    }
                    return new RankEvent.Evaluated(
                            kvBytes, communicator.traffic().payloadBytes());
                }
            }
        };
    }

    private RankEvent.Answer answer(int index, LlamaDecoder decoder, boolean leads) {
        EvaluationCase one = cases.get(index);
        if (one.likelihood()) {
            return new RankEvent.Answer(index, List.of(), likelihood(one.ids(), decoder, leads));
        }
        Generation.Result result = leads
                ? Generation.lead(
                        decoder,
                        new Generation.Request(
                                one.ids(), one.answerTokens(), Sampler.greedy(), Generation.stopIds(decoder)),
                        GenerationListener.NONE)
                : Generation.follow(decoder);
        return new RankEvent.Answer(index, result.ids(), 0);
    }

    /** Mean over all tokens but the first; known to the rank that computes logits only. */
    private static double likelihood(List<Integer> ids, LlamaDecoder decoder, boolean leads) {
        int[] read =
                ids.stream().limit(ids.size() - 1L).mapToInt(Integer::intValue).toArray();
        if (!leads) {
            decoder.feed(read, ProgressListener.NONE);
            return 0;
        }
        double[] sum = {0};
        decoder.prefillEach(
                read, (position, logits) -> sum[0] += PerplexityTask.nll(logits, ids.get((int) position + 1)));
        return sum[0] / read.length;
    }
}
