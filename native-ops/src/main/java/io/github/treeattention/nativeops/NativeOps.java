package io.github.treeattention.nativeops;

import java.util.List;
import java.util.Optional;

/**
 * Whether the native library is there and what it runs on. Loaded once, at the first question; a failure is kept and
 * told, never thrown by the questions themselves.
 */
public final class NativeOps {
    /**
     * System property: threads a kernel call may use; else {@code TREE_ATTENTION_THREADS} (empty is not set), else the host's
     * cores, or a container's quota, divided by the host's ranks, as their starter tells them ({@code LOCAL_WORLD_SIZE}, or Open
     * MPI's or Slurm's variable).
     */
    public static final String THREADS_PROPERTY = "treeattention.threads";

    private static final String MAX_ISA_VARIABLE = "TREE_ATTENTION_MAX_ISA";

    @SuppressWarnings("StaticAssignmentOfThrowable") // kept to be told at every question, thrown by none
    private static final Throwable UNAVAILABILITY_CAUSE = load();

    private NativeOps() {}

    public static boolean isAvailable() {
        return UNAVAILABILITY_CAUSE == null;
    }

    /** Empty if the library is loaded, else why not. */
    public static Optional<Throwable> unavailabilityCause() {
        return Optional.ofNullable(UNAVAILABILITY_CAUSE);
    }

    /**
     * The instruction-set tier that kernels use: {@code "generic"}, {@code "avx2"} or {@code "avx512"}. The environment
     * variable {@code TREE_ATTENTION_MAX_ISA} caps it.
     *
     * @throws IllegalStateException if the library is not available
     */
    public static String activeIsa() {
        ensureAvailable();
        return Isa.of(Bindings.activeIsa()).toString();
    }

    /**
     * Threads that a kernel call may use, the calling one included.
     *
     * @throws IllegalStateException if the library is not available
     */
    public static int threads() {
        ensureAvailable();
        return Bindings.threads();
    }

    /**
     * Sets how many threads a kernel call may use, for the whole process; results do not depend on it.
     *
     * @throws IllegalArgumentException if less than 1
     * @throws IllegalStateException if the library is not available
     */
    public static void setThreads(int threads) {
        ensureAvailable();
        if (threads < 1) {
            throw new IllegalArgumentException("threads must be at least 1: got " + threads);
        }
        Bindings.check(Bindings.setThreads(threads));
    }

    static void ensureAvailable() {
        if (UNAVAILABILITY_CAUSE != null) {
            throw new IllegalStateException(
                    "the native library is not available: " + UNAVAILABILITY_CAUSE.getMessage(), UNAVAILABILITY_CAUSE);
        }
    }

    /** A tier that is not understood would cap nothing, silently. */
    private static void requireKnownCap(String cap) {
        if (cap != null
                && !cap.isEmpty()
                && !List.of("generic", "avx2", "avx512").contains(cap)) {
            throw new IllegalArgumentException(
                    MAX_ISA_VARIABLE + " must be generic, avx2 or avx512: got '" + cap + "'");
        }
    }

    private static int wantedThreads() {
        String property = System.getProperty(THREADS_PROPERTY), variable = System.getenv(ThreadCount.VARIABLE);
        if (property != null) {
            return ThreadCount.parse(THREADS_PROPERTY, property);
        }
        if (variable != null && !variable.isEmpty()) {
            return ThreadCount.parse(ThreadCount.VARIABLE, variable);
        }
        int usable = Runtime.getRuntime().availableProcessors();
        return ThreadCount.of(System.getenv(), ThreadCount.pinned(usable), usable, Bindings.threads());
    }

    private static Throwable load() {
        try {
            NativeLibraryLoader.load();
            requireKnownCap(System.getenv(MAX_ISA_VARIABLE));
            Bindings.check(Bindings.setThreads(wantedThreads()));
            return null;
        } catch (LinkageError | RuntimeException failure) {
            return failure;
        }
    }
}
