package io.github.treeattention.examples.cli;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.model.LlamaConfig;
import java.util.List;
import java.util.function.Consumer;
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
    static RunReport run(
            GenerationJob job, LlamaConfig config, int ranks, LinkOptions links, Console console, IntConsumer onToken) {
        ContextSize.of(job.settings(), job.positions(), config, ranks).requireMemory(links.mostRanksOnAHost(ranks));
        if (job.positions() > config.maxPositions()) {
            console.note("note: prompt and --max-tokens exceed the " + config.maxPositions()
                    + " positions that the model was made for; what it says beyond them means little");
        }
        String task = ranks == 1 ? "reading on one process" : "reading on " + ranks + " processes";
        List<RankEvent.Finished> finished = run(job, ranks, links, console, RankEvent.Finished.class, event -> {
            if (event instanceof RankEvent.Read read) {
                console.progress(task, "tokens", read.done(), read.total());
            } else if (event instanceof RankEvent.Token token) {
                onToken.accept(token.id());
            }
        });
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

    /**
     * Runs any job.
     *
     * @param lastType what each rank of this job says at its end
     * @param listener hears all else that ranks say
     * @return each rank's last event, in rank order
     * @throws RankFailedException if a process of the run fails
     */
    static <T extends RankEvent.Last> List<T> run(
            RankJob job,
            int ranks,
            LinkOptions links,
            Console console,
            Class<T> lastType,
            Consumer<RankEvent> listener) {
        console.note("loading " + job.model());
        List<RankEvent.Last> last = ranks == 1 && links.placement(1).isEmpty()
                ? List.of(inThisProcess(job, listener))
                : ProcessRun.run(job, ranks, links, console, listener);
        return last.stream().map(lastType::cast).toList();
    }

    private static RankEvent.Last inThisProcess(RankJob job, Consumer<RankEvent> listener) {
        RankJob.Task task = job.load();
        try (Communicator alone = Communicators.single()) {
            return task.run(alone, listener);
        }
    }
}
