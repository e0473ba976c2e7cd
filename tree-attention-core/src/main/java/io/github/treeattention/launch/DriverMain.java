package io.github.treeattention.launch;

import io.github.treeattention.collective.aeron.MediaDriverMain;
import java.io.IOException;
import java.nio.file.Path;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Main class of the process that runs a host's media driver. It ends when its launcher does, and takes the job directory
 * with it: it outlives a launcher that was killed.
 */
final class DriverMain {
    private static final Logger LOG = LoggerFactory.getLogger(DriverMain.class);

    private DriverMain() {}

    /**
     * Runs until standard input ends.
     *
     * @param args the Aeron directory, inside the job directory
     */
    public static void main(String[] args) throws Exception {
        Path jobDirectory = Path.of(args[0]).getParent();
        try {
            MediaDriverMain.main(args);
        } finally {
            remove(jobDirectory); // after the driver has removed its own part; a signal leaves it all to the launcher
        }
    }

    private static void remove(Path jobDirectory) {
        try {
            JobDirectory.delete(jobDirectory);
        } catch (IOException e) {
            LOG.debug("{} stays for the launcher to remove", jobDirectory, e);
        }
    }
}
