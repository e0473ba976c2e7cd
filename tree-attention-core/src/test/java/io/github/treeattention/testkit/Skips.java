package io.github.treeattention.testkit;

import static org.junit.jupiter.api.Assertions.fail;

import org.junit.jupiter.api.Assumptions;

/** Tests that cannot run here say so, and fail where the environment promises that they can. */
public final class Skips {
    /** Set by CI, whose machines have a compiler: a native kernel that cannot be used is a failure there. */
    private static final String REQUIRE_NATIVE = "TREEATTENTION_REQUIRE_NATIVE";

    private Skips() {}

    /** Prints the reason and ends the test as skipped, or as failed if the native kernel is required. */
    @SuppressWarnings("SystemOut")
    public static void withoutNativeKernel(String reason) {
        if (System.getenv(REQUIRE_NATIVE) != null) {
            fail(REQUIRE_NATIVE + " is set, and there is no native kernel: " + reason);
        }
        skip(reason);
    }

    /** Prints the reason and ends the test as skipped. */
    @SuppressWarnings("SystemOut")
    public static void skip(String reason) {
        System.out.println("skipped: " + reason);
        Assumptions.abort(reason);
    }
}
