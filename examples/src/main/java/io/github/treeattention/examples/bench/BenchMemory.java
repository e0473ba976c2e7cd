package io.github.treeattention.examples.bench;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.lang.management.BufferPoolMXBean;
import java.lang.management.ManagementFactory;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** What ranks of benchmarks measure alike. */
final class BenchMemory {
    private static final int MOST_COLLECTIONS = 10;

    private BenchMemory() {}

    /** Direct memory in use, as the JVM counts it, garbage included. */
    static long directBytesNow() {
        return ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class).stream()
                .filter(pool -> pool.getName().equals("direct"))
                .mapToLong(BufferPoolMXBean::getMemoryUsed)
                .sum();
    }

    /** The same once unreachable buffers are gone. */
    static long directBytes() {
        long used = directBytesNow();
        for (int i = 0; i < MOST_COLLECTIONS; i++) {
            System.gc();
            try {
                TimeUnit.MILLISECONDS.sleep(20); // buffers are freed by a thread of the JVM's
            } catch (InterruptedException stop) {
                Thread.currentThread().interrupt();
                return used;
            }
            long now = directBytesNow();
            if (now == used && i > 0) {
                return now;
            }
            used = now;
        }
        return used;
    }

    static double median(List<Double> values) {
        List<Double> sorted = values.stream().sorted().toList();
        return sorted.isEmpty() ? 0 : sorted.get(sorted.size() / 2);
    }

    /** The record in a line that a rank has printed, or null if the line is something else. */
    static <T> T parse(ObjectMapper json, String line, Class<T> type) {
        try {
            return line.startsWith("{\"rank\":") ? json.readValue(line, type) : null;
        } catch (JsonProcessingException somethingElse) {
            return null;
        }
    }
}
