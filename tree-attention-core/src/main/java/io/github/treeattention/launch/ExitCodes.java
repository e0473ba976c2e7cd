package io.github.treeattention.launch;

import java.util.Map;

/** Exit codes in words. */
final class ExitCodes {
    /** What a rank ends with when its group has failed; also the command's. */
    static final int GROUP_FAILED = 3;

    private static final int SIGNAL_BASE = 128;
    /** Of a process that SIGKILL ended, or that is lost. */
    static final int KILLED = SIGNAL_BASE + 9;

    private static final Map<Integer, String> SIGNALS =
            Map.of(1, "SIGHUP", 2, "SIGINT", 6, "SIGABRT", 7, "SIGBUS", 9, "SIGKILL", 11, "SIGSEGV", 15, "SIGTERM");

    private ExitCodes() {}

    static String describe(int code) {
        int signal = code - SIGNAL_BASE;
        return "exit code " + code + (SIGNALS.containsKey(signal) ? " (" + SIGNALS.get(signal) + ")" : "");
    }
}
