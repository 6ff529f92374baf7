package dev.weft.cli;

import jakarta.inject.Inject;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ScopeType;
import picocli.CommandLine.Spec;

/** The command without a subcommand: says what there is. */
@Command(
    name = "weft",
    description = {
      "Sparse attention, mixture of experts and causal convolution for the JVM,",
      "on whatever device is there.",
      ""
    },
    versionProvider = Versions.class,
    subcommands = {
      DemoCommand.class,
      DevicesCommand.class,
      DoctorCommand.class,
      RunCommand.class,
      CheckCommand.class,
      VerifyCommand.class,
      CertificateCommand.class,
      BenchCommand.class,
      TestCommand.class
    },
    footer = {
      "",
      "Exit codes: 0 good, 1 wrong result, 2 bad usage, 3 backend unavailable.",
      "Start with 'weft demo'."
    })
final class WeftCommand implements Runnable {
  @Mixin final GlobalOptions options;

  @Option(
      names = {"-h", "--help"},
      usageHelp = true,
      scope = ScopeType.INHERIT,
      description = "Show this help and exit.")
  boolean help;

  @Option(names = "--version", versionHelp = true, description = "Show the version and exit.")
  boolean version;

  @Spec CommandSpec spec;

  @Inject
  WeftCommand(GlobalOptions options) {
    this.options = options;
  }

  @Override
  public void run() {
    throw new ParameterException(
        spec.commandLine(),
        "a command is missing: expected one of " + String.join(", ", spec.subcommands().keySet()));
  }
}
