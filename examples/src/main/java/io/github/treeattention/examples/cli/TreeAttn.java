package io.github.treeattention.examples.cli;

import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** The command {@code treeattn}. */
@Command(
        name = "treeattn",
        mixinStandardHelpOptions = true,
        versionProvider = Version.class,
        description = "Exact attention over contexts that one process cannot hold, spread over JVM processes.",
        subcommands = {
            DemoCommand.class,
            GenerateCommand.class,
            EvalCommand.class,
            TrainCommand.class,
            LaunchCommand.class,
            BenchCommand.class,
            PlanCommand.class,
            InfoCommand.class,
            CommandLine.HelpCommand.class
        },
        synopsisSubcommandLabel = "COMMAND",
        footer = {
            "",
            "Results go to stdout, progress and logs to stderr.",
            "Exit codes: 0 done, 2 bad usage or input, 3 a peer or the network failed, 1 anything else.",
            "",
            "Start with:  treeattn demo"
        })
public final class TreeAttn implements Runnable {
    @Spec
    private CommandSpec spec;

    private TreeAttn() {}

    public static void main(String[] args) {
        System.exit(execute(
                new PrintWriter(System.out, true, StandardCharsets.UTF_8),
                new PrintWriter(System.err, true, StandardCharsets.UTF_8),
                args));
    }

    /** Runs a command line and returns its exit code. */
    static int execute(PrintWriter out, PrintWriter err, String... args) {
        return new CommandLine(new TreeAttn())
                .setOut(out)
                .setErr(err)
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setParameterExceptionHandler(TreeAttn::onBadUsage)
                .setExecutionExceptionHandler((failure, command, parsed) -> onFailure(failure, command))
                .execute(args);
    }

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "a command is missing");
    }

    private static int onBadUsage(ParameterException failure, String[] args) {
        CommandLine command = failure.getCommandLine();
        PrintWriter err = command.getErr();
        err.println("treeattn: " + failure.getMessage());
        if (!CommandLine.UnmatchedArgumentException.printSuggestions(failure, err)) {
            err.println("Try '" + command.getCommandSpec().qualifiedName() + " --help'.");
        }
        return ExitCode.BAD_INPUT;
    }

    private static int onFailure(Exception failure, CommandLine command) {
        PrintWriter err = command.getErr();
        int code = ExitCode.of(failure);
        err.println("treeattn: " + (code == ExitCode.FAILED ? failure.toString() : failure.getMessage()));
        if (code == ExitCode.FAILED) {
            failure.printStackTrace(err);
        }
        err.flush();
        return code;
    }
}
