package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.annotation.JsonSubTypes;
import com.fasterxml.jackson.annotation.JsonTypeInfo;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.examples.train.Training;
import java.util.List;
import java.util.Optional;

/** What a rank process tells the command, one JSON line each on its standard output. */
@JsonTypeInfo(use = JsonTypeInfo.Id.NAME, property = "event")
@JsonSubTypes({
    @JsonSubTypes.Type(value = RankEvent.Read.class, name = "read"),
    @JsonSubTypes.Type(value = RankEvent.Token.class, name = "token"),
    @JsonSubTypes.Type(value = RankEvent.Finished.class, name = "finished"),
    @JsonSubTypes.Type(value = RankEvent.Answer.class, name = "answer"),
    @JsonSubTypes.Type(value = RankEvent.Evaluated.class, name = "evaluated"),
    @JsonSubTypes.Type(value = RankEvent.Began.class, name = "began"),
    @JsonSubTypes.Type(value = RankEvent.Stepped.class, name = "stepped"),
    @JsonSubTypes.Type(value = RankEvent.Saved.class, name = "saved"),
    @JsonSubTypes.Type(value = RankEvent.Trained.class, name = "trained")
})
sealed interface RankEvent {
    ObjectMapper JSON = new ObjectMapper();

    /** A part of the prompt has been read; rank 0 only. */
    record Read(int done, int total) implements RankEvent {}

    /** A token was generated; rank 0 only. */
    record Token(int id) implements RankEvent {}

    /** A rank has done its part; the counters and times are its own, the ids the same on every rank. */
    record Finished(
            List<Integer> ids,
            String stopReason,
            int promptTokens,
            double prefillSeconds,
            double decodeSeconds,
            int decodeSteps,
            String kernel,
            RunReport.Rank counters)
            implements Last {}

    /**
     * A case of an evaluation is done; rank 0 only.
     *
     * @param ids what was generated; empty where a likelihood was asked for
     * @param nll mean negative log-likelihood in nats per token, or 0 where tokens were generated
     */
    record Answer(int index, List<Integer> ids, double nll) implements RankEvent {}

    /**
     * A rank has done its part of an evaluation.
     *
     * @param kvBytes bytes of its KV pages, those of the longest case
     * @param sentBytes payload bytes that it sent
     */
    record Evaluated(long kvBytes, long sentBytes) implements Last {}

    /**
     * Training begins, or goes on.
     *
     * @param step after which it goes on; 0 where it begins
     * @param weightBytes what the rank holds for weights, gradients and moments
     * @param activationBytes what it holds for activations
     */
    record Began(int rank, int step, long weightBytes, long activationBytes) implements RankEvent {}

    /** A step of training is done; rank 0 only. */
    record Stepped(Training.Step step) implements RankEvent {}

    /** A checkpoint has been written; rank 0 only. */
    record Saved(int step, String file) implements RankEvent {}

    /**
     * A rank has done its part of a training.
     *
     * @param heldOutLoss in nats a token; null where nothing was held out
     * @param sentBytes payload bytes that it sent
     */
    record Trained(int rank, Double heldOutLoss, long weightBytes, long activationBytes, long sentBytes)
            implements Last {}

    /** What a rank says once, at its end. */
    sealed interface Last extends RankEvent permits Finished, Evaluated, Trained {}

    default String toJson() {
        try {
            return JSON.writerFor(RankEvent.class).writeValueAsString(this);
        } catch (JsonProcessingException failure) {
            throw new IllegalStateException("an event could not be written as JSON: " + this, failure);
        }
    }

    /** The event in a line, or empty if the line is something else. */
    static Optional<RankEvent> parse(String line) {
        if (!line.startsWith("{\"event\":")) {
            return Optional.empty();
        }
        try {
            return Optional.of(JSON.readValue(line, RankEvent.class));
        } catch (JsonProcessingException somethingElse) {
            return Optional.empty();
        }
    }
}
