package io.github.treeattention.launch;

import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Queue;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Takes what ranks print from the threads that empty their pipes, and hands it on in a thread of its own: a reader that
 * stalls, such as a pager, must not stop a rank in the middle of its work. Only once very much has piled up do ranks wait.
 */
final class OutputQueue implements RankOutput {
    private static final Logger LOG = LoggerFactory.getLogger(OutputQueue.class);
    /** Characters: hours of a rank that talks. */
    private static final long MOST_CHARACTERS = 64L << 20;

    private record Line(int rank, Stream stream, String text) {}

    private final RankOutput receiver;
    private final Queue<Line> lines = new ArrayDeque<>();
    private final Thread thread;
    private long characters;
    private boolean ended;

    private OutputQueue(RankOutput receiver) {
        this.receiver = receiver;
        this.thread = DaemonThreads.named("treeattn-output").newThread(this::run);
    }

    static OutputQueue start(RankOutput receiver) {
        OutputQueue queue = new OutputQueue(receiver);
        queue.thread.start();
        return queue;
    }

    @Override
    public synchronized void line(int rank, Stream stream, String line) {
        try {
            while (characters >= MOST_CHARACTERS && !ended) {
                wait();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        lines.add(new Line(rank, stream, line));
        characters += line.length() + 1;
        notifyAll();
    }

    private void run() {
        for (Line next = next(); next != null; next = next()) {
            try {
                receiver.line(next.rank, next.stream, next.text);
            } catch (RuntimeException e) {
                LOG.error("The receiver of a rank's output failed; the run goes on without it", e);
            }
        }
    }

    private synchronized Line next() {
        try {
            while (lines.isEmpty() && !ended) {
                wait(); // the end of the run is what wakes it
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return null;
        }
        Line line = lines.poll();
        if (line != null) {
            characters -= line.text.length() + 1;
            notifyAll();
        }
        return line;
    }

    /** Nothing is printed any more: waits until all is handed over, or the limit has passed. */
    void end(Duration limit) {
        synchronized (this) {
            ended = true;
            notifyAll();
        }
        try {
            thread.join(Math.max(1, limit.toMillis()));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
