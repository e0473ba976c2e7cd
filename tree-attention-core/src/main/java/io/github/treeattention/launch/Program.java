package io.github.treeattention.launch;

import java.util.List;
import java.util.Map;

/** What every rank of a run executes. Immutable. */
final class Program {
    private final String mainClass;
    private final List<String> arguments;
    private final String classPath;
    private final List<String> jvmFlags;
    private final Map<String, String> environment;
    private final byte[] input;

    /**
     * @param mainClass its main method runs
     * @param arguments of main
     * @param classPath the same on every host
     * @param jvmFlags besides those that the launcher adds by itself
     * @param environment besides what the process inherits
     * @param input what the ranks find in the file that {@code TREEATTN_INPUT} names; empty for no file
     */
    Program(
            String mainClass,
            List<String> arguments,
            String classPath,
            List<String> jvmFlags,
            Map<String, String> environment,
            byte[] input) {
        this.mainClass = mainClass;
        this.arguments = List.copyOf(arguments);
        this.classPath = classPath;
        this.jvmFlags = List.copyOf(jvmFlags);
        this.environment = Map.copyOf(environment);
        this.input = input;
    }

    /** The same whose input is in a file already. */
    Program withEnvironment(Map<String, String> variables) {
        return new Program(mainClass, arguments, classPath, jvmFlags, variables, new byte[0]);
    }

    String mainClass() {
        return mainClass;
    }

    List<String> arguments() {
        return arguments;
    }

    String classPath() {
        return classPath;
    }

    List<String> jvmFlags() {
        return jvmFlags;
    }

    Map<String, String> environment() {
        return environment;
    }

    /** Not to be changed. */
    byte[] input() {
        return input;
    }
}
