package dev.weft.cli;

import dev.weft.conformance.CaseOutcome;
import dev.weft.conformance.CaseStatus;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.ConformanceReport;
import dev.weft.conformance.ConformanceRun;
import java.io.IOException;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * A file that notes which case a run has begun and how each ended, so that another process can go
 * on where one crashed. A line is a case's id or, once it ended, id, status, largest error over its
 * bound, nanoseconds and message, separated by tabs, the message encoded as in a URL.
 */
final class CaseJournal {
  /** How a process ends in which a case hangs and others are left. */
  static final int HUNG = 70;

  private final Path file;

  CaseJournal(Path file) {
    this.file = file;
  }

  /** Runs what the journal does not have yet, and reports that and what it has. */
  ConformanceReport execute(ConformanceRun run, Consumer<String> ended) throws IOException {
    Map<String, String> before = ended();
    ConformanceReport report = run.report();
    for (ConformanceCase c : run.cases()) {
      String line = before.get(c.id());
      CaseOutcome outcome;
      if (line == null) {
        if (run.hasEnded()) {
          // A case hangs in this process, so that no other can be run here, nor anything be closed.
          Runtime.getRuntime().halt(HUNG);
        }
        append(c.id());
        outcome = run.execute(c);
        append(line(outcome));
      } else {
        outcome = outcome(c, line);
      }
      report.add(outcome);
      ended.accept(c.id());
    }
    return report;
  }

  /** Notes that the process died in the case that had begun; false if none had. */
  boolean fail(String why) throws IOException {
    String id = begun();
    if (id == null) {
      return false;
    }
    append(fields(id, CaseStatus.FAIL, Double.POSITIVE_INFINITY, 0, id + " " + why));
    return true;
  }

  /** The case that has begun and not ended, or null. */
  @Nullable String begun() throws IOException {
    List<String> lines = Files.readAllLines(file);
    String last = lines.isEmpty() ? "" : lines.getLast();
    return last.isEmpty() || last.contains("\t") ? null : last;
  }

  /** How many cases have ended. */
  int size() throws IOException {
    return ended().size();
  }

  private Map<String, String> ended() throws IOException {
    Map<String, String> ended = new LinkedHashMap<>();
    for (String line : Files.readAllLines(file)) {
      int tab = line.indexOf('\t');
      if (tab > 0) {
        ended.put(line.substring(0, tab), line);
      }
    }
    return ended;
  }

  /**
   * Each line is on its way to the disk before the case goes on, so that a crash cannot lose it.
   */
  private void append(String line) throws IOException {
    Files.writeString(file, line + "\n", StandardOpenOption.APPEND, StandardOpenOption.CREATE);
  }

  private static String line(CaseOutcome outcome) {
    return fields(
        outcome.testCase().id(),
        outcome.status(),
        outcome.worst(),
        outcome.nanos(),
        outcome.message());
  }

  private static String fields(
      String id, CaseStatus status, double worst, long nanos, String message) {
    return String.join(
        "\t",
        id,
        status.name(),
        Double.toHexString(worst),
        Long.toString(nanos),
        URLEncoder.encode(message, StandardCharsets.UTF_8),
        ".");
  }

  private static CaseOutcome outcome(ConformanceCase c, String line) {
    String[] fields = line.split("\t", -1);
    return new CaseOutcome(
        c,
        CaseStatus.valueOf(fields[1]),
        URLDecoder.decode(fields[4], StandardCharsets.UTF_8),
        Double.parseDouble(fields[2]),
        Long.parseLong(fields[3]),
        null);
  }
}
