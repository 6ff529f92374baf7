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
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Runs the conformance suite. */
@Command(
    name = "verify",
    description = {
      "Run the conformance suite on a backend: is it right?",
      "",
      "Fails if a case fails, if none ran, or if something mandatory is unsupported.",
      ""
    })
final class VerifyCommand implements Callable<Integer> {
  private static final List<String> OPERATIONS = List.of("conv1d", "moba", "moe");

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
      names = "--operation",
      paramLabel = "NAME",
      split = ",",
      description = "What the backend claims to have: conv1d, moba, moe. All three by default.")
  List<String> operations = List.of();

  @Option(
      names = "--mandatory",
      paramLabel = "NAME",
      split = ",",
      description = "Profiles that the backend must support in these operations. Default: CORE.")
  List<Profile> mandatory = List.of();

  @Option(
      names = "--waivers",
      paramLabel = "FILE",
      description = "Known failures: on each line a case's id and, behind a space, the reason.")
  @Nullable Path waivers;

  @Option(
      names = "--salt",
      paramLabel = "N",
      description = "Draw other random inputs. Default: ${DEFAULT-VALUE}.")
  long salt;

  @Option(
      names = "--report",
      paramLabel = "DIR",
      description =
          "Write the report there: JSON, a page to look at, JUnit XML, and a certificate.")
  @Nullable Path report;

  @Option(
      names = "--junit",
      paramLabel = "FILE",
      description = "Write the report there, in the XML of JUnit.")
  @Nullable Path junit;

  @Option(
      names = "--fork",
      description = "Work in a process of its own, so that a crash fails one case and no more.")
  boolean fork;

  /** The forked process keeps it, and so outlives its own crashes. */
  @Option(names = "--journal", hidden = true)
  @Nullable Path journal;

  @Spec CommandSpec command;

  @Inject
  VerifyCommand(Console console, Backends backends) {
    this.console = console;
    this.backends = backends;
  }

  @Override
  public Integer call() throws IOException {
    if (fork && journal == null) {
      return ForkedVerification.run(console, command.root().commandLine());
    }
    // Read first: a mistake in a file should not take a whole run to show.
    Map<String, String> waived = waivers == null ? Map.of() : Waivers.read(waivers);
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
            .mandatory(
                mandatory.isEmpty() ? EnumSet.of(Profile.CORE) : EnumSet.copyOf(mandatory), areas())
            .waivers(waived)
            .filter(pattern)
            .salt(salt);
    if (!profiles.isEmpty()) {
      builder.profiles(EnumSet.copyOf(profiles));
    }
    ConformanceReport result;
    try (ConformanceRun run = builder.open();
        Progress progress = Progress.start(console, "verify", run.cases().size())) {
      Path kept = journal;
      if (kept == null) {
        result = run.execute(outcome -> tell(outcome, progress));
      } else {
        result = new CaseJournal(kept).execute(run, id -> progress.step(id));
      }
    }
    print(result);
    Path folder = report;
    if (folder != null) {
      console.out().println("Report: " + result.writeTo(folder));
    }
    Path xml = junit;
    if (xml != null) {
      result.writeJunit(xml);
    }
    return result.passed() ? ExitCode.GOOD : ExitCode.WRONG;
  }

  /** A failure is named at once: a run that does not come to its end has told that much. */
  private static void tell(CaseOutcome outcome, Progress progress) {
    progress.step(outcome.testCase().id());
    if (outcome.status() == CaseStatus.FAIL) {
      progress.say("failed: " + outcome.testCase().id());
    }
  }

  /** The device contract is everyone's duty. */
  private Set<String> areas() {
    Set<String> areas = new TreeSet<>(operations.isEmpty() ? OPERATIONS : operations);
    for (String operation : areas) {
      if (!OPERATIONS.contains(operation)) {
        throw new IllegalArgumentException(
            "--operation: expected one of " + OPERATIONS + ", but was '" + operation + "'");
      }
    }
    areas.add("device");
    return areas;
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
    List<String> unneeded =
        result.outcomes().stream()
            .filter(o -> o.status() == CaseStatus.PASS && !o.message().isEmpty())
            .map(o -> o.testCase().id() + ": " + o.message())
            .toList();
    unneeded.forEach(out::println);
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
