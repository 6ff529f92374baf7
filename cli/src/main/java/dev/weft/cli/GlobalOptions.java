package dev.weft.cli;

import jakarta.inject.Inject;
import jakarta.inject.Singleton;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;
import picocli.CommandLine.ScopeType;

/** Options that stand before or behind any subcommand. */
@Singleton
final class GlobalOptions {
  @Option(
      names = "--backend",
      paramLabel = "ID[:N]",
      scope = ScopeType.INHERIT,
      description =
          "The backend, or its device N. Else -Dweft.backend, WEFT_BACKEND, or the best there is.")
  @Nullable String backend;

  @Option(
      names = "--provider-jar",
      paramLabel = "JAR[:JAR...]",
      scope = ScopeType.INHERIT,
      description =
          "Also look for backends in these jars, classes folders included. Without --backend the"
              + " one backend in them is chosen.")
  List<String> providerJars = List.of();

  @Option(
      names = "--verbose",
      scope = ScopeType.INHERIT,
      description = "Show stack traces of errors.")
  boolean verbose;

  @Inject
  GlobalOptions() {}
}
