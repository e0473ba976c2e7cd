package io.github.treeattention.collective.aeron;

import io.github.treeattention.collective.AbortSignal;
import io.github.treeattention.collective.CollectiveException;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.Communicators;
import io.github.treeattention.collective.LseOp;
import io.github.treeattention.collective.ProcessGroup;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.Optional;

/**
 * A rank in a process of its own: all-reduces a given number of times, or until it fails. Answers on
 * standard output: "ready", then "done HASH" or "failed RANK OPERATION: MESSAGE".
 */
final class RankProcess {
    private static volatile AbortSignal.Failure aborted;

    private RankProcess() {}

    public static void main(String[] args) {
        Path directory = Path.of(args[0]);
        int rank = Integer.parseInt(args[1]);
        int worldSize = Integer.parseInt(args[2]);
        Duration deadline = Duration.ofMillis(Long.parseLong(args[3]));
        List<String> hosts = Collections.nCopies(worldSize, "localhost");
        ProcessGroup group = new ProcessGroup(rank, hosts, Integer.parseInt(args[4]), 99);
        AbortSignal abort = () -> Optional.ofNullable(aborted);
        Thread commands = new Thread(RankProcess::readCommands);
        commands.setDaemon(true);
        commands.start();
        AeronTransport transport =
                AeronTransport.connect(new AeronTransport.Config(directory, group, Duration.ofSeconds(60), abort));
        try (Communicator communicator = Communicators.over(group, transport, abort, deadline)) {
            communicator.barrier();
            answer("ready");
            answer("done " + work(communicator, Long.parseLong(args[5])));
        } catch (CollectiveException failure) {
            answer("failed " + failure.failedRank() + " " + failure.operation() + ": " + failure.getMessage());
        }
    }

    private static int work(Communicator communicator, long rounds) {
        LseOp op = new LseOp(128);
        ByteBuffer message = ByteBuffer.allocateDirect(32 * op.blockLength()).order(ByteOrder.LITTLE_ENDIAN);
        int hash = 0;
        for (long round = 1; round <= rounds; round++) {
            for (int at = 0; at < message.capacity(); at += Float.BYTES) {
                message.putFloat(at, (at * 31L + round * 17 + communicator.rank() * 7L) % 101 / 10f);
            }
            communicator.allReduce(message, op);
            hash = 31 * hash + message.hashCode();
        }
        return hash;
    }

    private static void readCommands() {
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                aborted = new AbortSignal.Failure(
                        Integer.parseInt(line.substring("abort ".length())), "the launcher saw it die");
            }
        } catch (IOException gone) {
            throw new IllegalStateException(gone);
        }
        Runtime.getRuntime().halt(9); // the test has died
    }

    private static void answer(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
