package dev.weft.cli;

import com.google.inject.Injector;
import jakarta.inject.Inject;
import java.io.PrintWriter;
import java.util.List;
import picocli.CommandLine;
import picocli.CommandLine.Help.Ansi;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.UnmatchedArgumentException;

/** Parses the command line, runs the subcommand and reports what goes wrong, in one line. */
final class CommandRunner {
  private final Injector injector;
  private final Console console;
  private final GlobalOptions options;
  private final Backends backends;

  @Inject
  CommandRunner(Injector injector, Console console, GlobalOptions options, Backends backends) {
    this.injector = injector;
    this.console = console;
    this.options = options;
    this.backends = backends;
  }

  int run(String... arguments) {
    CommandLine line = new CommandLine(injector.getInstance(WeftCommand.class), this::create);
    line.setOut(console.out());
    line.setErr(console.err());
    line.setColorScheme(
        CommandLine.Help.defaultColorScheme(console.isTerminal() ? Ansi.AUTO : Ansi.OFF));
    line.setCaseInsensitiveEnumValuesAllowed(true);
    line.setParameterExceptionHandler((e, _) -> badUsage(e));
    line.setExecutionExceptionHandler((e, _, _) -> Failures.report(e, console, options.verbose));
    int code;
    try {
      code = line.execute(arguments);
    } catch (Error e) { // picocli handles exceptions only
      code = Failures.report(e, console, options.verbose);
    }
    try {
      backends.close();
    } catch (RuntimeException e) {
      code = Math.max(code, Failures.report(e, console, options.verbose));
    }
    return code;
  }

  /** Commands come from Guice; what picocli makes for itself does not. */
  private <K> K create(Class<K> type) throws Exception {
    return injector.getExistingBinding(com.google.inject.Key.get(type)) == null
        ? CommandLine.defaultFactory().create(type)
        : injector.getInstance(type);
  }

  private int badUsage(ParameterException e) {
    if (options.verbose) {
      e.printStackTrace(console.err());
    }
    CommandLine command = e.getCommandLine();
    PrintWriter err = console.err();
    err.println(
        "weft: "
            + message(e, command).strip().replaceAll("\\s*\\R\\s*", " ")
            + "; see '"
            + command.getCommandSpec().qualifiedName()
            + " --help'");
    err.flush();
    return ExitCode.USAGE;
  }

  private static String message(ParameterException e, CommandLine command) {
    if (e instanceof UnmatchedArgumentException unmatched) {
      List<String> given = unmatched.getUnmatched();
      String first = given.isEmpty() ? "" : given.getFirst();
      List<String> suggestions = unmatched.getSuggestions();
      String hint = suggestions.isEmpty() ? "" : "; did you mean " + suggestions.getFirst() + "?";
      if (first.startsWith("-")) {
        return "unknown option '" + first + "'" + hint;
      }
      return command.getSubcommands().isEmpty()
          ? "unexpected argument '" + first + "'"
          : "unknown command '"
              + first
              + "': expected one of "
              + String.join(", ", command.getSubcommands().keySet());
    }
    return String.valueOf(e.getMessage());
  }
}
