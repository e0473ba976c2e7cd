package io.github.treeattention.kernel;

class JavaKernelTest extends AttentionKernelContract {
    @Override
    protected AttentionKernel kernel() {
        return new JavaKernelProvider().kernel();
    }
}
