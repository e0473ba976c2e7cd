package io.github.treeattention.samediff;

import java.util.concurrent.atomic.AtomicBoolean;
import org.nd4j.linalg.api.ops.executioner.OpExecutioner;
import org.nd4j.linalg.factory.Nd4j;
import org.nd4j.linalg.factory.Nd4jBackend;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Says in one line that ND4J's CUDA backend is on the class path and cannot run. ND4J itself prints a stack trace and goes on
 * with the next backend, or fails to load its classes where there is none.
 */
final class CudaFallback {
    private static final Logger LOG = LoggerFactory.getLogger(CudaFallback.class);
    private static final String CUDA_BACKEND = "org.nd4j.linalg.jcublas.JCublasBackend";
    private static final AtomicBoolean TOLD = new AtomicBoolean();

    private CudaFallback() {}

    /**
     * ND4J's executioner; starts ND4J.
     *
     * @throws IllegalStateException if no backend can run here; says why
     */
    static OpExecutioner executioner() {
        OpExecutioner current;
        try {
            current = Nd4j.getExecutioner();
        } catch (LinkageError failure) { // Nd4j's own initialisation
            Throwable cuda = cudaFailure();
            throw new IllegalStateException(
                    "ND4J has no backend that can run here: "
                            + (cuda == null
                                    ? reason(failure)
                                    : "the one for CUDA fails (" + reason(cuda)
                                            + "), and nd4j-native, for the CPU, is not on the class path"),
                    failure);
        }
        if (!TOLD.getAndSet(true) && !Nd4j.getBackend().getClass().getName().equals(CUDA_BACKEND)) {
            Throwable cuda = cudaFailure();
            if (cuda != null) {
                LOG.warn(
                        "nd4j-cuda is on the class path but cannot run here, so all runs on the CPU: {} (ND4J's own lines before"
                                + " this one say more)",
                        reason(cuda));
            }
        }
        return current;
    }

    /** Why the CUDA backend cannot run; null if it can, or is not on the class path. */
    private static Throwable cudaFailure() {
        Nd4jBackend backend;
        try {
            backend = Class.forName(CUDA_BACKEND)
                    .asSubclass(Nd4jBackend.class)
                    .getDeclaredConstructor()
                    .newInstance();
        } catch (ReflectiveOperationException absent) {
            return null;
        } catch (LinkageError incomplete) {
            return incomplete;
        }
        try {
            return backend.canRun() ? null : new UnsupportedOperationException("it says so, and not why");
        } catch (RuntimeException | LinkageError failure) { // no library, no driver, no device
            return failure;
        }
    }

    /** What is at the root of a failure, in one line. */
    private static String reason(Throwable failure) {
        Throwable root = failure;
        while (root.getCause() != null) {
            root = root.getCause();
        }
        return String.valueOf(root.getMessage() == null ? root : root.getMessage())
                .lines()
                .findFirst()
                .orElse("");
    }
}
