package io.github.treeattention.examples.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * One measurement of a DL4J attention layer, in a process of its own so that its peak memory is its own: FLOAT, batch 1, no
 * masks, the layer and an {@code RnnOutputLayer}, Adam.
 *
 * @param layer whose layer
 * @param mode what is timed
 * @param length time steps
 * @param heads attention heads
 * @param dim size of a head; inputs and outputs have {@code heads * dim} features
 * @param runs timed calls, after one on a short sequence
 * @param heapMegabytes the JVM's {@code -Xmx}
 * @param memoryMegabytes resident memory of the process, heap and all, above which it is ended; 0 for no limit
 */
public record LayerCase(
        Layer layer, Mode mode, int length, int heads, int dim, int runs, int heapMegabytes, int memoryMegabytes) {
    private static final long POLL_MILLIS = 50;
    private static final long MEGABYTE = 1_000_000;
    private static final Pattern REASON =
            Pattern.compile("(OutOfMemoryError[^\\n]*|[\\w.]+(?:Exception|Error): [^\\n]*)");

    /** Whose layer is measured. */
    public enum Layer {
        /** {@code SelfAttentionLayer}. */
        STOCK,
        /** {@code TreeSelfAttentionLayer}. */
        TREE
    }

    /** What is timed. */
    public enum Mode {
        /** {@code output}. */
        FORWARD,
        /** {@code fit}. */
        FIT
    }

    /**
     * What a process measured.
     *
     * @param seconds of the fastest call
     * @param peakBytes resident memory of the whole process at its peak
     * @param score that the first {@code fit} found, or 0 where there was none
     */
    public record Measured(double seconds, long peakBytes, double score) {}

    /** A process that did not get there. */
    public static final class FailedException extends Exception {
        private static final long serialVersionUID = 1L;

        FailedException(String reason) {
            super(reason);
        }
    }

    /**
     * Runs the case in a process of its own, which is ended when the time is up.
     *
     * @throws FailedException if it ends without a result; the message says why, as far as can be told
     */
    public Measured run(Duration limit) throws IOException, InterruptedException, FailedException {
        Path log = Files.createTempFile("treeattn-layer", ".log");
        try {
            Process process = new ProcessBuilder(command())
                    .redirectErrorStream(true)
                    .redirectOutput(log.toFile())
                    .start();
            try {
                await(process, limit);
            } finally {
                process.destroyForcibly().waitFor();
            }
            String text = Files.readString(log);
            Matcher result = LayerWorker.RESULT.matcher(text);
            if (process.exitValue() == 0 && result.find()) {
                long peak = Long.parseLong(result.group(2));
                checkMemory(peak);
                return new Measured(Double.parseDouble(result.group(1)), peak, Double.parseDouble(result.group(3)));
            }
            throw new FailedException(reason(process.exitValue(), text));
        } finally {
            Files.delete(log);
        }
    }

    private void await(Process process, Duration limit) throws InterruptedException, FailedException {
        long deadline = System.nanoTime() + limit.toNanos();
        while (!process.waitFor(POLL_MILLIS, TimeUnit.MILLISECONDS)) {
            if (System.nanoTime() > deadline) {
                throw new FailedException("not done after " + limit.toSeconds() + " s");
            }
            checkMemory(LayerWorker.peak(process.pid()).orElse(0));
        }
    }

    private void checkMemory(long peakBytes) throws FailedException {
        if (memoryMegabytes > 0 && peakBytes > memoryMegabytes * MEGABYTE) {
            throw new FailedException("more than " + memoryMegabytes + " MB resident");
        }
    }

    private static String reason(int exitCode, String text) {
        if (exitCode == 128 + 9) {
            return "killed, most likely by the system for want of memory";
        }
        Matcher reason = REASON.matcher(text);
        return reason.find() ? reason.group(1) : "exit code " + exitCode;
    }

    private List<String> command() {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx" + heapMegabytes + "m",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"));
        // JavaCPP's own limits follow the heap's, and do not count what ND4J allocates itself.
        command.add("-Dorg.bytedeco.javacpp.maxbytes=0");
        command.add("-Dorg.bytedeco.javacpp.maxphysicalbytes=0");
        System.getProperties().stringPropertyNames().stream()
                .filter(name -> name.startsWith("treeattention."))
                .forEach(name -> command.add("-D" + name + "=" + System.getProperty(name)));
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), LayerWorker.class.getName()));
        command.addAll(List.of(layer.name(), mode.name(), "" + length, "" + heads, "" + dim, "" + runs));
        return command;
    }
}
