package io.github.treeattention.examples.cli;

import io.github.treeattention.examples.GenerationListener;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.launch.RankEnvironment;
import io.github.treeattention.launch.RankSession;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;

/** A rank process of {@link ProcessGoldenTest}: runs several jobs, one after another, in one group. */
final class GoldenRank {
    private GoldenRank() {}

    public static void main(String[] args) throws Exception {
        try (RankSession session = RankSession.join(RankEnvironment.current(), Map.of(), Duration.ofSeconds(60))) {
            for (String file : args) {
                GenerationJob job = RankEvent.JSON.readValue(Path.of(file).toFile(), GenerationJob.class);
                System.out.println(RankWork.run(
                                job,
                                ModelLoader.load(Path.of(job.model())),
                                session.communicator(),
                                GenerationListener.NONE)
                        .toJson());
            }
            session.communicator().barrier();
        }
    }
}
