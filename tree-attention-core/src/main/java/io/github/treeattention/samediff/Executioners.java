package io.github.treeattention.samediff;

import java.lang.reflect.Field;
import org.nd4j.linalg.api.ops.executioner.OpExecutioner;
import org.nd4j.linalg.factory.Nd4j;

/**
 * Puts our executioner in the place of ND4J's own, on either backend. Goes by names: of the other backend not even the classes
 * need be there.
 */
final class Executioners {
    private static final String CPU = "org.nd4j.linalg.cpu.nativecpu.ops.NativeOpExecutioner";
    private static final String CUDA = "org.nd4j.linalg.jcublas.ops.executioner.CudaExecutioner";
    private static final String OURS = "io.github.treeattention.samediff.TreeAttentionExecutioner";
    private static final String OURS_FOR_CUDA = "io.github.treeattention.samediff.TreeAttentionCudaExecutioner";

    private Executioners() {}

    /** @throws IllegalStateException if the executioner in place is neither ours nor one of ND4J's two */
    static void install(OpExecutioner current) {
        if (isOurs(current)) {
            return;
        }
        String name = current.getClass().getName();
        if (!name.equals(CPU) && !name.equals(CUDA)) {
            throw new IllegalStateException("ND4J's executioner must be " + CPU + " or " + CUDA + " or extend " + OURS
                    + " or " + OURS_FOR_CUDA + ": got " + name);
        }
        OpExecutioner ours = name.equals(CPU) ? Cpu.create() : Cuda.create();
        ours.enableDebugMode(current.isDebug());
        ours.enableVerboseMode(current.isVerbose());
        try {
            Field field = Nd4j.class.getDeclaredField("OP_EXECUTIONER_INSTANCE");
            field.setAccessible(true);
            field.set(null, ours);
        } catch (ReflectiveOperationException failure) {
            throw new IllegalStateException(
                    "ND4J's executioner can't be replaced; start with -Dopexec="
                            + ours.getClass().getName(),
                    failure);
        }
    }

    private static boolean isOurs(OpExecutioner executioner) {
        for (Class<?> type = executioner.getClass(); type != null; type = type.getSuperclass()) {
            if (type.getName().equals(OURS) || type.getName().equals(OURS_FOR_CUDA)) {
                return true;
            }
        }
        return false;
    }

    private static final class Cpu {
        static OpExecutioner create() {
            return new TreeAttentionExecutioner();
        }
    }

    private static final class Cuda {
        static OpExecutioner create() {
            return new TreeAttentionCudaExecutioner();
        }
    }
}
