package io.github.treeattention.examples.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.OptionalLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** How much memory this host can still give: the kernel's estimate, or what the control group leaves, if that is less. */
final class Memory {
    private static final Pattern AVAILABLE = Pattern.compile("MemAvailable:\\s+(\\d+) kB");
    private static final Path CGROUP = Path.of("/sys/fs/cgroup");

    private Memory() {}

    /** Bytes, or empty where the system does not say. */
    static OptionalLong available() {
        OptionalLong host = hostAvailable();
        OptionalLong group = groupAvailable();
        if (group.isPresent() && host.isPresent()) {
            return OptionalLong.of(Math.min(group.getAsLong(), host.getAsLong()));
        }
        return group.isPresent() ? group : host;
    }

    /** What the control group (version 2, else 1) leaves; file cache that can be dropped counts as free. */
    private static OptionalLong groupAvailable() {
        OptionalLong second = left("memory.max", "memory.current", "memory.stat", "inactive_file");
        return second.isPresent()
                ? second
                : left(
                        "memory/memory.limit_in_bytes",
                        "memory/memory.usage_in_bytes",
                        "memory/memory.stat",
                        "total_inactive_file");
    }

    private static OptionalLong left(String limitFile, String usedFile, String statFile, String cacheName) {
        OptionalLong limit = number(CGROUP.resolve(limitFile));
        OptionalLong used = number(CGROUP.resolve(usedFile));
        if (limit.isEmpty() || used.isEmpty()) {
            return OptionalLong.empty();
        }
        long cache = 0;
        try {
            Matcher matcher = Pattern.compile("(?m)^" + cacheName + " (\\d{1,18})$")
                    .matcher(Files.readString(CGROUP.resolve(statFile)));
            cache = matcher.find() ? Long.parseLong(matcher.group(1)) : 0;
        } catch (IOException noStatistics) {
            // all that is used counts then
        }
        return OptionalLong.of(Math.max(0, limit.getAsLong() - used.getAsLong() + cache));
    }

    /** A number of bytes for people: {@code 1.5 GB}. */
    static String human(long bytes) {
        String[] units = {"B", "kB", "MB", "GB", "TB"};
        double amount = bytes;
        int unit = 0;
        while (amount >= 1000 && unit < units.length - 1) {
            amount /= 1000;
            unit++;
        }
        return String.format(Locale.ROOT, unit == 0 ? "%.0f %s" : "%.1f %s", amount, units[unit]);
    }

    private static OptionalLong hostAvailable() {
        try {
            Matcher matcher = AVAILABLE.matcher(Files.readString(Path.of("/proc/meminfo")));
            return matcher.find() ? OptionalLong.of(Long.parseLong(matcher.group(1)) * 1024) : OptionalLong.empty();
        } catch (IOException notLinux) {
            return OptionalLong.empty();
        }
    }

    private static OptionalLong number(Path file) {
        try {
            String text = Files.readString(file).trim();
            return text.matches("\\d{1,18}") ? OptionalLong.of(Long.parseLong(text)) : OptionalLong.empty();
        } catch (IOException noControlGroup) {
            return OptionalLong.empty();
        }
    }
}
