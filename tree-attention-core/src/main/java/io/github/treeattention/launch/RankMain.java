package io.github.treeattention.launch;

import io.github.treeattention.collective.CollectiveException;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Arrays;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Main class of a rank process: runs the user's main class, and ends the process when its launcher has died, whatever
 * the user's code is doing then. The launcher holds the other end of standard input and writes nothing to it.
 */
final class RankMain {
    private static final Logger LOG = LoggerFactory.getLogger(RankMain.class);

    private RankMain() {}

    /**
     * Runs the main class that the launcher was given.
     *
     * @param args its name, then its arguments
     */
    public static void main(String[] args) throws Exception {
        RankEnvironment environment = RankEnvironment.current();
        DaemonThreads.named("treeattn-launcher-watch")
                .newThread(() -> watchLauncher(environment))
                .start();
        Method main;
        try {
            main = Class.forName(args[0]).getMethod("main", String[].class);
        } catch (ClassNotFoundException | NoSuchMethodException e) {
            throw new IllegalArgumentException(
                    "the main class must be on the class path and have a public static main(String[]): got " + args[0],
                    e);
        }
        main.setAccessible(true); // the java command also accepts classes that are not public
        try {
            main.invoke(null, (Object) Arrays.copyOfRange(args, 1, args.length));
        } catch (InvocationTargetException e) {
            fail(e.getCause());
        }
    }

    /** Reports on standard error, whatever logging there is, and ends the process. */
    private static void fail(Throwable cause) {
        PrintStream err = System.err;
        if (cause instanceof CollectiveException) {
            // Every survivor of a failure ends here: the message says it all, and says it once per rank.
            err.println(cause);
            LOG.debug("Where it happened", cause);
        } else {
            Thread.currentThread().getThreadGroup().uncaughtException(Thread.currentThread(), cause);
        }
        // Threads that the user's code has left behind must not keep a failed rank alive.
        System.exit(cause instanceof CollectiveException ? ExitCodes.GROUP_FAILED : 1);
    }

    private static void watchLauncher(RankEnvironment environment) {
        try {
            while (System.in.read() >= 0) {
                // nothing is ever said
            }
        } catch (IOException e) {
            LOG.debug("Standard input failed, which is as good as its end", e);
        }
        if (!environment.dataPlane().usesSharedMemory()) {
            removeDirectory(environment); // there is no media driver that would do it
        }
        SelfDestruct.after(environment.exitAfterAbort(), "the launcher has ended", () -> true);
    }

    private static void removeDirectory(RankEnvironment environment) {
        try {
            JobDirectory.delete(environment.aeronDirectory().getParent());
        } catch (IOException e) {
            LOG.debug("The job directory stays for the next launcher to remove", e);
        }
    }
}
