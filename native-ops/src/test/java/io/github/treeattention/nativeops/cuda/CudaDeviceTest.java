package io.github.treeattention.nativeops.cuda;

import io.github.treeattention.kernel.AttentionBackwardContract;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernelContract;
import io.github.treeattention.kernel.AttentionOptionsContract;
import io.github.treeattention.kernel.OnnxAttentionContract;
import io.github.treeattention.testkit.Skips;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;

/** The kernels' contracts on a real device. Skipped without one, or failed where
 * {@code TREEATTENTION_REQUIRE_GPU=1} promises one. */
@Tag("gpu")
class CudaDeviceTest {

    @Nested
    class Forward extends AttentionKernelContract {
        @BeforeEach
        void requireDevice() {
            CudaDeviceTest.requireDevice();
        }

        @Override
        protected AttentionKernel kernel() {
            return new CudaKernelProvider().kernel();
        }
    }

    @Nested
    class Options extends AttentionOptionsContract {
        @BeforeEach
        void requireDevice() {
            CudaDeviceTest.requireDevice();
        }

        @Override
        protected AttentionKernel kernel() {
            return new CudaKernelProvider().kernel();
        }
    }

    @Nested
    class Backward extends AttentionBackwardContract {
        @BeforeEach
        void requireDevice() {
            CudaDeviceTest.requireDevice();
        }

        @Override
        protected AttentionKernel kernel() {
            return new CudaKernelProvider().kernel();
        }
    }

    @Nested
    class Onnx extends OnnxAttentionContract {
        @BeforeEach
        void requireDevice() {
            CudaDeviceTest.requireDevice();
        }

        @Override
        protected AttentionKernel kernel() {
            return new CudaKernelProvider().kernel();
        }
    }

    private static void requireDevice() {
        new CudaKernelProvider().unavailabilityCause().ifPresent(cause -> {
            if ("1".equals(System.getenv("TREEATTENTION_REQUIRE_GPU"))) {
                Assertions.fail("TREEATTENTION_REQUIRE_GPU needs a CUDA device: " + cause.getMessage());
            }
            Skips.skip("no CUDA device: " + cause.getMessage());
        });
    }
}
