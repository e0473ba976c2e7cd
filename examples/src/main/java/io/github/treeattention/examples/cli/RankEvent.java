package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.annotation.JsonSubTypes;
import com.fasterxml.jackson.annotation.JsonTypeInfo;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.List;
import java.util.Optional;

/** What a rank process tells the command, one JSON line each on its standard output. */
@JsonTypeInfo(use = JsonTypeInfo.Id.NAME, property = "event")
@JsonSubTypes({
    @JsonSubTypes.Type(value = RankEvent.Read.class, name = "read"),
    @JsonSubTypes.Type(value = RankEvent.Token.class, name = "token"),
    @JsonSubTypes.Type(value = RankEvent.Finished.class, name = "finished")
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
            implements RankEvent {}

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
