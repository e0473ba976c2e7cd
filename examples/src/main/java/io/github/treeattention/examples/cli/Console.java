package io.github.treeattention.examples.cli;

import java.io.PrintStream;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;

/** Progress and notes for people, on stderr: a bar on a terminal, a line now and then elsewhere. */
final class Console implements AutoCloseable {
    private static final long LINE_INTERVAL_NS = 2_000_000_000L;

    private final PrintStream err = System.err;
    private final boolean terminal = Boolean.getBoolean("treeattention.terminal"); // the script looks, the JDK cannot
    private ProgressBar bar;
    private String task;
    private long lastLineNs;

    void note(String line) {
        finish();
        err.println(line);
    }

    /** Shows how far a task is; a task is over when done reaches total, or another begins. */
    void progress(String name, String unit, long done, long total) {
        progress(name, unit, done, total, "");
    }

    /** The same, with a word on how it goes. */
    void progress(String name, String unit, long done, long total, String more) {
        if (!name.equals(task)) {
            finish();
            task = name;
            lastLineNs = System.nanoTime();
            if (terminal) {
                bar = new ProgressBarBuilder()
                        .setTaskName(name)
                        .setInitialMax(total)
                        .setUnit(" " + unit, 1)
                        .setStyle(ProgressBarStyle.ASCII)
                        .setConsumer(new ConsoleProgressBarConsumer(err))
                        .build();
            }
        }
        if (bar != null) {
            bar.setExtraMessage(more);
            bar.stepTo(done);
        } else if (done == total || System.nanoTime() - lastLineNs > LINE_INTERVAL_NS) {
            lastLineNs = System.nanoTime();
            err.println(name + ": " + done + " of " + total + " " + unit + (more.isEmpty() ? "" : ", " + more));
        }
        if (done >= total) {
            finish();
        }
    }

    private void finish() {
        task = null;
        if (bar != null) {
            bar.close();
            bar = null;
        }
    }

    @Override
    public void close() {
        finish();
    }
}
