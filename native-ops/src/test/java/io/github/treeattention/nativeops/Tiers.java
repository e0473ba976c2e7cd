package io.github.treeattention.nativeops;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

/** Skips tests, saying why, of what this machine cannot run. */
final class Tiers {
    private Tiers() {}

    static void requireLibrary() {
        assumeTrue(
                NativeOps.isAvailable(),
                () -> "no native library: "
                        + NativeOps.unavailabilityCause()
                                .map(Throwable::getMessage)
                                .orElse(""));
    }

    static void require(Isa isa) {
        requireLibrary();
        assumeTrue(Bindings.bestIsa() >= isa.code(), () -> "this machine cannot run " + isa);
    }
}
