package io.github.treeattention.nativeops.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.kernel.AttentionKernelProvider;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.testkit.Skips;
import java.util.List;
import org.junit.jupiter.api.Test;

class CudaKernelProviderTest {

    /** It has never run on a GPU, so nobody gets it who does not ask. */
    @Test
    void shouldBeFoundAndComeLast() {
        List<String> names = AttentionKernels.providers().stream()
                .map(AttentionKernelProvider::name)
                .filter(name -> !name.equals("simulated")) // of tests
                .toList();
        assertEquals("cuda", names.get(names.size() - 1), names.toString());
        assertEquals("java", names.get(names.size() - 2), names.toString());
        assertFalse(AttentionKernels.choose().description().startsWith("cuda"));
    }

    @Test
    void shouldFailLoudlyWhereThereIsNoDevice() {
        if (LibCuda.unavailabilityCause().isEmpty()) {
            Skips.skip("this machine has a CUDA device");
        }
        IllegalStateException refused = assertThrows(IllegalStateException.class, () -> AttentionKernels.named("cuda"));
        assertTrue(refused.getMessage().startsWith("kernel 'cuda' cannot run here: "), refused.getMessage());
        assertThrows(IllegalStateException.class, () -> new CudaKernelProvider().kernel());
    }
}
