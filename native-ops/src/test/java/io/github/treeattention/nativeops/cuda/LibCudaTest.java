package io.github.treeattention.nativeops.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.nativeops.NativeOps;
import io.github.treeattention.testkit.Skips;
import org.junit.jupiter.api.Test;

/** The driver's own absence; its calls need a device. */
class LibCudaTest {

    @Test
    void shouldSayInOneLineWhyThereIsNoDevice() {
        if (!NativeOps.isAvailable()) {
            Skips.withoutNativeKernel(
                    NativeOps.unavailabilityCause().orElseThrow().getMessage());
        }
        if (LibCuda.unavailabilityCause().isEmpty()) {
            Skips.skip("this machine has a CUDA device");
        }
        String reason = LibCuda.unavailabilityCause().get().getMessage();
        assertTrue(reason.startsWith("no NVIDIA driver: ") || reason.startsWith("the NVIDIA driver "), reason);
        assertEquals(1, reason.lines().count(), reason);
        IllegalStateException refused = assertThrows(IllegalStateException.class, LibCuda::new);
        assertEquals("no CUDA device can be used: " + reason, refused.getMessage());
    }
}
