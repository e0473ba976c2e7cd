package io.github.treeattention.examples.bench;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Open MPI's all-reduce of the same bytes on the same machine, by a small C program that is compiled here. */
public final class OpenMpi implements AutoCloseable {
    private static final String SOURCE = "allreduce.c";
    private static final long DEADLINE_SECONDS = 60;

    private final Path directory;

    private OpenMpi(Path directory) {
        this.directory = directory;
    }

    /**
     * What the program has measured on its rank 0.
     *
     * @param merge calls with the merge of attention states
     * @param sum calls with MPI_SUM
     * @param waitingCpu share of a core that a rank used while it waited
     */
    public record Report(CallTimes merge, CallTimes sum, double waitingCpu) {}

    /**
     * Compiles the program.
     *
     * @throws IOException if that is not possible; the message says why and what to do
     */
    public static OpenMpi compile() throws IOException {
        OpenMpi mpi = new OpenMpi(Files.createTempDirectory("treeattn-mpi-"));
        try (InputStream source = OpenMpi.class.getResourceAsStream(SOURCE)) {
            Path file = mpi.directory.resolve(SOURCE);
            Files.copy(source, file);
            mpi.run(List.of("mpicc", "-O3", "-o", mpi.program(), file.toString(), "-lm"));
            return mpi;
        } catch (IOException | RuntimeException failure) {
            mpi.close();
            throw failure;
        }
    }

    /** Times so many calls on so many ranks, of {@code heads} rows of {@code dim + 1} floats. */
    public Report time(int ranks, int heads, int dim, int calls) throws IOException {
        List<String> command = new ArrayList<>(List.of("mpirun", "--oversubscribe", "--bind-to", "none"));
        if (System.getProperty("user.name").equals("root")) {
            command.add("--allow-run-as-root"); // as it does without being asked, like any program
        }
        command.addAll(List.of("-n", String.valueOf(ranks), program()));
        command.addAll(List.of(String.valueOf(heads), String.valueOf(dim), String.valueOf(calls)));
        List<String> lines = run(command);
        double cpu = Double.parseDouble(line(lines, "waiting ").substring("waiting ".length()));
        return new Report(times(line(lines, "merge ")), times(line(lines, "sum ")), cpu);
    }

    private static String line(List<String> lines, String start) throws IOException {
        return lines.stream()
                .filter(line -> line.startsWith(start))
                .findFirst()
                .orElseThrow(() -> new IOException("mpirun printed no '" + start + "': " + lines));
    }

    private static CallTimes times(String line) {
        return CallTimes.of(Arrays.stream(line.split(" "))
                .skip(1)
                .mapToLong(Long::parseLong)
                .toArray());
    }

    private String program() {
        return directory.resolve("allreduce").toString();
    }

    private List<String> run(List<String> command) throws IOException {
        Path output = directory.resolve("output");
        Process process;
        try {
            process = new ProcessBuilder(command)
                    .redirectErrorStream(true)
                    .redirectOutput(output.toFile())
                    .start();
        } catch (IOException missing) {
            throw new IOException(
                    command.get(0) + " is not installed (Debian: apt-get install openmpi-bin libopenmpi-dev)", missing);
        }
        try {
            if (!process.waitFor(DEADLINE_SECONDS, TimeUnit.SECONDS)) {
                throw new IOException(command.get(0) + " did not end within " + DEADLINE_SECONDS + " s");
            }
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted while " + command.get(0) + " ran", interrupted);
        } finally {
            process.descendants().forEach(ProcessHandle::destroyForcibly);
            process.destroyForcibly();
        }
        String printed = Files.readString(output, StandardCharsets.UTF_8);
        if (process.exitValue() != 0) {
            throw new IOException(command.get(0) + " failed with exit code " + process.exitValue() + ": "
                    + printed.strip().lines().limit(5).toList());
        }
        return printed.lines().toList();
    }

    /** Removes the program. */
    @Override
    public void close() throws IOException {
        for (String file : List.of(SOURCE, "allreduce", "output")) {
            Files.deleteIfExists(directory.resolve(file));
        }
        Files.delete(directory);
    }
}
