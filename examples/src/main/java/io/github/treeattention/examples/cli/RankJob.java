package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.annotation.JsonSubTypes;
import com.fasterxml.jackson.annotation.JsonTypeInfo;
import io.github.treeattention.collective.Communicator;
import java.util.Map;
import java.util.function.Consumer;

/** Everything that a rank must know to do its part; crosses to rank processes as JSON. */
@JsonTypeInfo(use = JsonTypeInfo.Id.NAME, property = "job")
@JsonSubTypes({
    @JsonSubTypes.Type(value = GenerationJob.class, name = "generation"),
    @JsonSubTypes.Type(value = EvaluationJob.class, name = "evaluation"),
    @JsonSubTypes.Type(value = TrainingJob.class, name = "training")
})
sealed interface RankJob permits GenerationJob, EvaluationJob, TrainingJob {

    /** Absolute path of the largest file or folder that every rank reads before the ranks meet. */
    String model();

    /** How long one collective call may take. */
    int deadlineSeconds();

    /** Reads what the job needs, before the ranks meet. */
    Task load();

    /** A job whose files have been read. */
    interface Task {

        /** What ranks compare when they meet. */
        Map<String, String> fingerprint();

        /**
         * Does one rank's part, together with the others.
         *
         * @param tell hears how the run goes on; what is told depends on the rank
         * @return what the rank says at its end
         */
        RankEvent.Last run(Communicator communicator, Consumer<RankEvent> tell);
    }
}
