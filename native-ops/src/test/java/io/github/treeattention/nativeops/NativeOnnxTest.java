package io.github.treeattention.nativeops;

import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.OnnxAttentionContract;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Nested;

/** ONNX's node tests, for every instruction-set tier that this machine can run. */
class NativeOnnxTest {

    @Nested
    class Generic extends TierContract {
        Generic() {
            super(Isa.GENERIC);
        }
    }

    @Nested
    class Avx2 extends TierContract {
        Avx2() {
            super(Isa.AVX2);
        }
    }

    @Nested
    class Avx512 extends TierContract {
        Avx512() {
            super(Isa.AVX512);
        }
    }

    abstract static class TierContract extends OnnxAttentionContract {
        private final Isa isa;

        TierContract(Isa isa) {
            this.isa = isa;
        }

        @BeforeEach
        void requireTier() {
            Tiers.require(isa);
        }

        @Override
        protected AttentionKernel kernel() {
            return new NativeKernel(isa.code());
        }
    }
}
