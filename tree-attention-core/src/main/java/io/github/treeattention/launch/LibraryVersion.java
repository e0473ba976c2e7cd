package io.github.treeattention.launch;

import java.util.Objects;

/** Which version of this library runs in this process. */
final class LibraryVersion {
    /** From the jar's manifest; class files outside of a jar have none. */
    static final String CURRENT =
            Objects.requireNonNullElse(LibraryVersion.class.getPackage().getImplementationVersion(), "development");

    private LibraryVersion() {}
}
