package io.github.treeattention.launch;

import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A daemon thread that cuts what a process prints into lines, so that its pipe never fills. */
final class OutputPump {
    private static final Logger LOG = LoggerFactory.getLogger(OutputPump.class);
    /** A process that prints no line ends cannot make us keep all it prints. */
    private static final int MAX_LINE = 65_536;

    private final InputStream in;
    private final Consumer<String> lines;
    private final Thread thread;

    private OutputPump(String name, InputStream in, Consumer<String> lines) {
        this.in = in;
        this.lines = lines;
        this.thread = DaemonThreads.named(name).newThread(this::run);
    }

    static OutputPump start(String name, InputStream in, Consumer<String> lines) {
        OutputPump pump = new OutputPump(name, in, lines);
        pump.thread.start();
        return pump;
    }

    private void run() {
        StringBuilder line = new StringBuilder();
        char[] buffer = new char[8192];
        try (Reader reader = new InputStreamReader(in, StandardCharsets.UTF_8)) {
            for (int n; (n = reader.read(buffer)) >= 0; ) {
                for (int i = 0; i < n; i++) {
                    if (buffer[i] == '\n' || line.length() >= MAX_LINE) {
                        emit(line);
                    }
                    if (buffer[i] != '\n') {
                        line.append(buffer[i]);
                    }
                }
            }
        } catch (IOException e) {
            LOG.debug("{} ended with its process", thread.getName(), e);
        }
        if (!line.isEmpty()) {
            emit(line);
        }
    }

    private void emit(StringBuilder line) {
        int end = line.length();
        if (end > 0 && line.charAt(end - 1) == '\r') {
            line.setLength(end - 1);
        }
        try {
            lines.accept(line.toString());
        } catch (RuntimeException e) {
            LOG.error("The receiver of a rank's output failed; the process must not block on it", e);
        }
        line.setLength(0);
    }

    /** Waits until everything printed has been handed over, but not longer: a grandchild may hold the pipe open. */
    void join(long millis) {
        try {
            thread.join(Math.max(1, millis));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
