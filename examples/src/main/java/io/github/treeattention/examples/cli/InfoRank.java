package io.github.treeattention.examples.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.collective.Calibration;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Route;
import io.github.treeattention.distributed.StateMerge;
import io.github.treeattention.launch.RankEnvironment;
import io.github.treeattention.launch.RankSession;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Main class of the ranks of {@code treeattn info --ranks}: each measures, and prints what it sees as a line of JSON. */
final class InfoRank {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final StateMerge MERGE = new StateMerge(128);
    /** One state of 32 heads, then of chunks of queries. */
    private static final List<Integer> HEADS = List.of(32, 32 * 64, 32 * 1024);

    private InfoRank() {}

    /** What a rank sees; the calibration is the same at all. */
    record Report(int rank, String host, double seconds, Calibration calibration, List<Message> messages) {
        static Report parse(String line) {
            try {
                return line.startsWith("{\"rank\":") ? JSON.readValue(line, Report.class) : null;
            } catch (JsonProcessingException somethingElse) {
                return null;
            }
        }
    }

    /** An all-reduce of so many bytes, before and after the measurement. */
    record Message(int bytes, Route uncalibrated, Route calibrated) {}

    public static void main(String[] args) throws JsonProcessingException {
        try (RankSession session = RankSession.join(RankEnvironment.current(), Map.of(), Duration.ofSeconds(30))) {
            Communicator ranks = session.communicator();
            List<Route> uncalibrated = routes(ranks);
            long start = System.nanoTime();
            Calibration calibration = ranks.calibrate();
            double seconds = (System.nanoTime() - start) / 1e9;
            List<Route> calibrated = routes(ranks);
            List<Message> messages = new ArrayList<>();
            for (int i = 0; i < HEADS.size(); i++) {
                messages.add(new Message(bytes(HEADS.get(i)), uncalibrated.get(i), calibrated.get(i)));
            }
            Report report = new Report(ranks.rank(), ranks.group().host(ranks.rank()), seconds, calibration, messages);
            System.out.println(JSON.writeValueAsString(report));
            ranks.barrier();
        }
    }

    private static List<Route> routes(Communicator ranks) {
        return HEADS.stream().map(heads -> ranks.route(bytes(heads), MERGE)).toList();
    }

    private static int bytes(int heads) {
        return heads * MERGE.blockLength();
    }
}
