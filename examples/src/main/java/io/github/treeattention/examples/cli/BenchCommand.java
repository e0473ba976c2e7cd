package io.github.treeattention.examples.cli;

import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** {@code treeattn bench}. */
@Command(
        name = "bench",
        mixinStandardHelpOptions = true,
        description = "Measures parts of the library on this machine, beside what the machine can do at all.",
        subcommands = {
            BenchKernelCommand.class,
            BenchLayerCommand.class,
            BenchDecodeCommand.class,
            BenchPrefillCommand.class,
            BenchCollectiveCommand.class,
            BenchEnergyCommand.class
        })
final class BenchCommand implements Runnable {
    @Spec
    private CommandSpec spec;

    @Override
    public void run() {
        throw new ParameterException(
                spec.commandLine(), "what to measure is missing: kernel, layer, decode, prefill, collective or energy");
    }
}
