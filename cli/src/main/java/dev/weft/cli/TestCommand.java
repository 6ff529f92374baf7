package dev.weft.cli;

import jakarta.inject.Inject;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Parameters;

/** Stands in the help for what the script does. */
@Command(
    name = "test",
    description = "Build everything and run every test: ./weft test, in a clone.")
final class TestCommand implements Callable<Integer> {
  private final Console console;

  @Parameters(
      arity = "0..*",
      paramLabel = "ARGUMENT",
      description = "Handed to Maven, such as -pl api.")
  List<String> arguments = List.of();

  @Inject
  TestCommand(Console console) {
    this.console = console;
  }

  @Override
  public Integer call() {
    console
        .err()
        .println(
            "weft: test: run ./weft test in a clone of the repository; to test a backend here,"
                + " run 'weft verify'");
    return ExitCode.USAGE;
  }
}
