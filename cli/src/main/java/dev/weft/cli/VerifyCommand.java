package dev.weft.cli;

import dev.weft.DeviceInfo;
import dev.weft.DiscoveryReport;
import dev.weft.conformance.CaseOutcome;
import dev.weft.conformance.CaseStatus;
import dev.weft.conformance.ConformanceReport;
import dev.weft.conformance.ConformanceRun;
import dev.weft.conformance.Profile;
import dev.weft.spi.KernelProvider;
import jakarta.inject.Inject;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** Runs the conformance suite. */
@Command(
    name = "verify",
    description = {
      "Run the conformance suite on a backend: is it right?",
      "",
      "Fails if a case fails, or if none ran.",
      ""
    })
final class VerifyCommand implements Callable<Integer> {
  private final Console console;
  private final Backends backends;

  @Option(
      names = "--case",
      paramLabel = "REGEX",
      description = "Only cases whose id contains this, or that this regular expression finds.")
  String pattern = "";

  @Option(
      names = "--profile",
      paramLabel = "NAME",
      split = ",",
      description = "Profiles to run: ${COMPLETION-CANDIDATES}. All but LARGE by default.")
  List<Profile> profiles = List.of();

  @Option(
      names = "--salt",
      paramLabel = "N",
      description = "Draw other random inputs. Default: ${DEFAULT-VALUE}.")
  long salt;

  @Option(
      names = "--report",
      paramLabel = "DIR",
      description = "Write the report there: JSON, and a page to look at.")
  @Nullable Path report;

  @Inject
  VerifyCommand(Console console, Backends backends) {
    this.console = console;
    this.backends = backends;
  }

  @Override
  public Integer call() throws IOException {
    DeviceInfo info = backends.device().info();
    KernelProvider provider =
        backends
            .report()
            .provider(info.providerId())
            .map(DiscoveryReport.Entry::provider)
            .orElseThrow(() -> new IllegalStateException("no provider of " + info));
    ConformanceRun.Builder builder =
        ConformanceRun.of(provider)
            .device(Integer.toString(info.descriptor().index()))
            .filter(pattern)
            .salt(salt);
    if (!profiles.isEmpty()) {
      builder.profiles(EnumSet.copyOf(profiles));
    }
    ConformanceReport result;
    try (ConformanceRun run = builder.open();
        Progress progress = Progress.start(console, "verify", run.cases().size())) {
      result = run.execute(outcome -> progress.step(outcome.testCase().id()));
    }
    print(result);
    Path folder = report;
    if (folder != null) {
      console.out().println("Report: " + result.writeTo(folder));
    }
    return result.passed() ? ExitCode.GOOD : ExitCode.WRONG;
  }

  private void print(ConformanceReport result) {
    PrintWriter out = console.out();
    Map<String, List<CaseOutcome>> byArea =
        result.outcomes().stream()
            .collect(
                Collectors.groupingBy(o -> o.testCase().area(), TreeMap::new, Collectors.toList()));
    TextTable table = new TextTable().text("AREA");
    for (CaseStatus status : CaseStatus.values()) {
      table.number(status.name().replace('_', ' '));
    }
    table.number("SECONDS").number("WORST/BOUND");
    byArea.forEach((area, outcomes) -> table.row(row(area, outcomes)));
    table.row(row("all", result.outcomes()));
    table.print(out);
    for (CaseOutcome outcome : result.outcomes()) {
      if (outcome.status() == CaseStatus.FAIL) {
        out.println();
        out.println(outcome.message());
      }
    }
    out.println();
    long failed = result.count(CaseStatus.FAIL);
    if (result.executed() == 0) {
      out.println(
          "FAILED: no case ran"
              + (result.outcomes().isEmpty()
                  ? "; none matches '" + pattern + "'"
                  : ", see --profile"));
    } else if (failed > 0) {
      out.println(
          "FAILED: "
              + failed
              + " of "
              + Verdicts.count(result.executed(), "case")
              + " on "
              + result.device());
    } else {
      out.println(
          "PASSED: " + Verdicts.count(result.executed(), "case") + " on " + result.device());
    }
  }

  private static String[] row(String name, List<CaseOutcome> outcomes) {
    CaseStatus[] statuses = CaseStatus.values();
    String[] row = new String[statuses.length + 3];
    row[0] = name;
    for (int i = 0; i < statuses.length; i++) {
      CaseStatus status = statuses[i];
      row[i + 1] = Long.toString(outcomes.stream().filter(o -> o.status() == status).count());
    }
    double seconds = outcomes.stream().mapToLong(CaseOutcome::nanos).sum() / 1e9;
    double worst = outcomes.stream().mapToDouble(CaseOutcome::worst).max().orElse(0);
    row[statuses.length + 1] = String.format(Locale.ROOT, "%.1f", seconds);
    row[statuses.length + 2] = Units.digits(worst);
    return row;
  }
}
