package io.github.treeattention.examples.cli;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.examples.DecoderOptions;
import io.github.treeattention.examples.Generation;
import io.github.treeattention.examples.GenerationListener;
import io.github.treeattention.examples.LlamaDecoder;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.text.Sampler;
import io.github.treeattention.kernel.AttentionKernel;
import java.util.Locale;

/** One rank's part of a {@link GenerationJob}, whatever process it runs in. */
final class RankWork {
    private RankWork() {}

    /** A decoder with room for so many positions. */
    static LlamaDecoder decoder(
            RankSettings settings,
            long positions,
            LlamaModel model,
            Communicator communicator,
            AttentionKernel kernel) {
        ContextSize size = ContextSize.of(settings, positions, model.config(), communicator.worldSize());
        DecoderOptions options = DecoderOptions.defaults()
                .withKvType(settings.kvType())
                .withPageSize(settings.pageSize())
                .withMaxKvBytes(size.kvBytesPerRank());
        return settings.decoder(model, communicator, kernel, options);
    }

    /** Generates with the others; the listener hears something on rank 0 only. */
    static RankEvent.Finished run(
            GenerationJob job, LlamaModel model, Communicator communicator, GenerationListener listener) {
        AttentionKernel kernel = job.settings().loadKernel();
        try (LlamaDecoder decoder = decoder(job.settings(), job.positions(), model, communicator, kernel)) {
            Generation.Result result;
            if (communicator.rank() == 0) {
                Sampler sampler = Sampler.of(job.temperature(), job.topP(), job.seed());
                result = Generation.lead(
                        decoder,
                        new Generation.Request(job.promptIds(), job.maxTokens(), sampler, Generation.stopIds(decoder)),
                        listener);
            } else {
                result = Generation.follow(decoder);
            }
            long decodeBytes = result.decodeTraffic().payloadBytes();
            RunReport.Rank counters = new RunReport.Rank(
                    communicator.rank(),
                    decoder.kvBytes(),
                    communicator.traffic().payloadBytes() - decodeBytes,
                    decodeBytes);
            return new RankEvent.Finished(
                    result.ids(),
                    result.stopReason().name().toLowerCase(Locale.ROOT),
                    result.promptTokens(),
                    result.prefillSeconds(),
                    result.decodeSeconds(),
                    result.decodeSteps(),
                    kernel.description(),
                    counters);
        }
    }
}
