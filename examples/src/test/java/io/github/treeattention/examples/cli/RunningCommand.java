package io.github.treeattention.examples.cli;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** The command as a process of its own, whose output is read line by line and whose children can be killed. */
final class RunningCommand implements AutoCloseable {
    private final Process process;
    private final BufferedReader output;
    private final StringBuilder text = new StringBuilder();

    RunningCommand(String... arguments) throws IOException {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--add-exports",
                "java.base/jdk.internal.misc=ALL-UNNAMED",
                "-cp",
                System.getProperty("java.class.path"),
                TreeAttn.class.getName()));
        command.addAll(List.of(arguments));
        process = new ProcessBuilder(command).redirectErrorStream(true).start();
        output = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
    }

    /** Reads up to a line that contains the part; false if the output ends before. */
    boolean readTo(String part) throws IOException {
        for (String line = output.readLine(); line != null; line = output.readLine()) {
            text.append(line).append('\n');
            if (line.contains(part)) {
                return true;
            }
        }
        return false;
    }

    /** Reads the rest, and returns the exit code. */
    int end() throws IOException, InterruptedException {
        for (String line = output.readLine(); line != null; line = output.readLine()) {
            text.append(line).append('\n');
        }
        if (!process.waitFor(10, TimeUnit.SECONDS)) {
            throw new AssertionError("the command closed its output and goes on: " + text);
        }
        return process.exitValue();
    }

    /** Everything that was read. */
    String text() {
        return text.toString();
    }

    List<ProcessHandle> processes() {
        return process.descendants().toList();
    }

    long pid() {
        return process.pid();
    }

    /** kill -9 of a process that has this in its command line; false if there is none, or it has ended. */
    boolean kill(String mainClass) {
        return process.descendants()
                .filter(child -> commandLine(child).contains(mainClass))
                .findFirst()
                .map(ProcessHandle::destroyForcibly)
                .orElse(false);
    }

    /** ProcessHandle gives up on command lines longer than a page, which class paths are. */
    private static String commandLine(ProcessHandle process) {
        try {
            return Files.readString(Path.of("/proc", String.valueOf(process.pid()), "cmdline"));
        } catch (IOException ended) {
            return "";
        }
    }

    @Override
    public void close() throws IOException {
        process.descendants().forEach(ProcessHandle::destroyForcibly);
        process.destroyForcibly();
        output.close();
    }
}
