package io.github.treeattention.kernel;

class JavaBackwardTest extends AttentionBackwardContract {
    @Override
    protected AttentionKernel kernel() {
        return new JavaKernelProvider().kernel();
    }
}
