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
        OptionalLong limit = number(CGROUP.resolve("memory.max"));
        OptionalLong used = number(CGROUP.resolve("memory.current"));
        if (limit.isPresent() && used.isPresent()) {
            long left = Math.max(0, limit.getAsLong() - used.getAsLong());
            return OptionalLong.of(host.isPresent() ? Math.min(left, host.getAsLong()) : left);
        }
        return host;
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
