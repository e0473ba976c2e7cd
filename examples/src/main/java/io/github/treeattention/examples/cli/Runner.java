package io.github.treeattention.examples.cli;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.examples.GenerationListener;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.model.ModelLoader;
import java.nio.file.Path;
import java.util.List;
import java.util.function.IntConsumer;

/** Runs a job: one rank in this process, several as processes of their own. */
final class Runner {
    private Runner() {}

    /**
     * Generates, with progress on the console.
     *
     * @param onToken hears every generated token as it comes
     * @throws InputException if this host has too little memory; nothing is started then
     * @throws RankFailedException if a process of the run fails
     */
    static RunReport run(GenerationJob job, LlamaConfig config, int ranks, Console console, IntConsumer onToken) {
        ContextSize.of(job, config, ranks).requireMemory(ranks);
        if (job.promptIds().size() + (long) job.maxTokens() > config.maxPositions()) {
            console.note("note: prompt and --max-tokens exceed the " + config.maxPositions()
                    + " positions that the model was made for; what it says beyond them means little");
        }
        console.note("loading " + job.model());
        String task = ranks == 1 ? "reading on one process" : "reading on " + ranks + " processes";
        GenerationListener listener = new GenerationListener() {
            @Override
            public void prompt(int done, int total) {
                console.progress(task, "tokens", done, total);
            }

            @Override
            public void token(int id) {
                onToken.accept(id);
            }
        };
        List<RankEvent.Finished> finished =
                ranks == 1 ? List.of(inThisProcess(job, listener)) : ProcessRun.run(job, ranks, console, listener);
        RankEvent.Finished leader = finished.get(0);
        return new RunReport(
                leader.ids(),
                leader.stopReason(),
                leader.promptTokens(),
                leader.prefillSeconds(),
                leader.decodeSeconds(),
                leader.decodeSteps(),
                leader.kernel(),
                finished.stream().map(RankEvent.Finished::counters).toList());
    }

    private static RankEvent.Finished inThisProcess(GenerationJob job, GenerationListener listener) {
        LlamaModel model = ModelLoader.load(Path.of(job.model()));
        try (Communicator alone = Communicators.single()) {
            return RankWork.run(job, model, alone, listener);
        }
    }
}
