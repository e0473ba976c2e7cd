package io.github.treeattention.kernel;

class JavaOptionsTest extends AttentionOptionsContract {
    @Override
    protected AttentionKernel kernel() {
        return new JavaKernelProvider().kernel();
    }
}
