package io.github.treeattention.kernel;

class JavaOnnxTest extends OnnxAttentionContract {
    @Override
    protected AttentionKernel kernel() {
        return AttentionKernels.named("java");
    }
}
