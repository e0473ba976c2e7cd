package io.github.treeattention.launch;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Command lines of the JVMs that a launcher starts: this JVM's own binary, with the flags that Aeron needs. */
final class JavaCommand {
    private static final int FIRST_WITH_WARNINGS = 24;

    private JavaCommand() {}

    static List<String> of(List<String> jvmFlags, String classPath, Class<?> wrapper, List<String> arguments) {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(requiredFlags());
        command.addAll(jvmFlags);
        command.add("-cp");
        command.add(classPath);
        command.add(wrapper.getName());
        command.addAll(arguments);
        return command;
    }

    private static List<String> requiredFlags() {
        List<String> flags = new ArrayList<>(List.of(
                "--add-exports",
                "java.base/jdk.internal.misc=ALL-UNNAMED",
                "--add-opens",
                "java.base/sun.nio.ch=ALL-UNNAMED",
                // A pipe has no terminal's encoding: without these, text in it depends on the locale.
                "-Dfile.encoding=UTF-8",
                "-Dstdout.encoding=UTF-8",
                "-Dstderr.encoding=UTF-8",
                "-Dsun.stdout.encoding=UTF-8",
                "-Dsun.stderr.encoding=UTF-8"));
        if (Runtime.version().feature() >= FIRST_WITH_WARNINGS) {
            flags.add("--enable-native-access=ALL-UNNAMED");
            flags.add("--sun-misc-unsafe-memory-access=allow");
        }
        return flags;
    }
}
