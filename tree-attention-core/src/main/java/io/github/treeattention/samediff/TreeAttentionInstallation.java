package io.github.treeattention.samediff;

import org.nd4j.linalg.env.EnvironmentalAction;

/**
 * Installs the operations as ND4J starts, where the environment has {@code TREEATTENTION_SAMEDIFF=true}, so that a program
 * that does not know of them can load and run graphs that hold them. ND4J finds this by {@link java.util.ServiceLoader};
 * it runs no service whose environment variable is not set.
 */
public final class TreeAttentionInstallation implements EnvironmentalAction {

    /** For {@link java.util.ServiceLoader}. */
    public TreeAttentionInstallation() {}

    @Override
    public String targetVariable() {
        return "TREEATTENTION_SAMEDIFF";
    }

    /** @throws IllegalStateException as {@link TreeAttentionOps#init()} does; ND4J logs it at INFO and starts without */
    @Override
    public void process(String value) {
        if (Boolean.parseBoolean(value)) {
            TreeAttentionOps.init();
        }
    }
}
