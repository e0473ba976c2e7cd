package io.github.treeattention.nativeops;

import io.github.treeattention.testkit.Skips;

/** Skips tests, saying why, of what this machine cannot run. */
final class Tiers {
    private Tiers() {}

    static void requireLibrary() {
        NativeOps.unavailabilityCause().ifPresent(cause -> Skips.withoutNativeKernel(cause.getMessage()));
    }

    static void require(Isa isa) {
        requireLibrary();
        if (Bindings.bestIsa() < isa.code()) {
            Skips.skip("this machine cannot run " + isa);
        }
    }
}
