package dev.weft.conformance;

import dev.weft.DataType;
import dev.weft.spi.DeviceDescriptor;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.StringJoiner;
import java.util.TreeMap;

/**
 * A report for people: one page that needs nothing but itself. First what was tested, then a matrix
 * of operation and feature by data type, then every case.
 */
final class ReportPage {
  private static final String STYLE =
      """
      :root { color-scheme: light dark; --line: #8884; --dim: #888; --good: #2e9e5b;
        --bad: #d33d3d; --some: #c98a1b; --none: #8886; }
      body { font: 15px/1.5 system-ui, sans-serif; max-width: 78rem; margin: 2rem auto; padding: 0 1rem; }
      h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
      .verdict { display: inline-block; padding: .1rem .7rem; border-radius: 1rem; color: #fff; }
      .facts { display: grid; grid-template-columns: max-content auto; gap: .1rem 1.2rem; margin: 1rem 0; }
      .facts dt { color: var(--dim); } .facts dd { margin: 0; }
      .tally { display: flex; height: .7rem; border-radius: .35rem; overflow: hidden; background: var(--none); }
      table { border-collapse: collapse; width: 100%; }
      th, td { text-align: left; padding: .22rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
      th { font-weight: 600; } td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
      table.matrix { width: auto; } table.matrix td + td, table.matrix th + th { text-align: center; min-width: 4.5rem; }
      .cell { border-radius: .3rem; color: #fff; display: block; padding: 0 .4rem; }
      .pass { background: var(--good); } .fail { background: var(--bad); }
      .part { background: var(--some); } .none { background: var(--none); }
      .bar { display: inline-block; width: 6rem; height: .5rem; background: var(--none); border-radius: .25rem; overflow: hidden; }
      .bar i { display: block; height: 100%; }
      code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere; } pre { white-space: pre-wrap; margin: .2rem 0; font-size: 12px; }
      details > summary { cursor: pointer; } .dim { color: var(--dim); }
      """;

  private final ConformanceReport report;
  private final StringBuilder page = new StringBuilder();

  ReportPage(ConformanceReport report) {
    this.report = report;
  }

  static String jvm() {
    return System.getProperty("java.vm.name") + ' ' + System.getProperty("java.runtime.version");
  }

  static String os() {
    return System.getProperty("os.name")
        + ' '
        + System.getProperty("os.version")
        + ' '
        + System.getProperty("os.arch");
  }

  String text() {
    String title = "Weft conformance: " + report.device().providerId();
    page.append("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")
        .append("<meta name=\"viewport\" content=\"width=device-width\"><title>")
        .append(escape(title))
        .append("</title><style>\n")
        .append(STYLE)
        .append("</style></head><body>\n");
    head(title);
    Map<String, List<CaseOutcome>> operations = new LinkedHashMap<>();
    for (CaseOutcome outcome : report.outcomes()) {
      operations
          .computeIfAbsent(outcome.testCase().operation(), o -> new ArrayList<>())
          .add(outcome);
    }
    matrix(operations);
    failures();
    page.append("<h2>Every case</h2>\n");
    operations.forEach(this::details);
    return page.append("</body></html>\n").toString();
  }

  private void head(String title) {
    boolean passed = report.passed();
    page.append("<h1>").append(escape(title)).append("</h1>\n<p><span class=\"verdict ");
    page.append(passed ? "pass\">passed" : "fail\">not passed").append("</span> ");
    page.append(escape(report.summary())).append("</p>\n<div class=\"tally\">");
    long total = Math.max(1, report.outcomes().size());
    for (CaseStatus status : CaseStatus.values()) {
      page.append("<i class=\"")
          .append(style(status))
          .append("\" style=\"width:")
          .append(String.format(Locale.ROOT, "%.2f", 100.0 * report.count(status) / total))
          .append("%\" title=\"")
          .append(status)
          .append("\"></i>");
    }
    page.append("</div>\n<dl class=\"facts\">");
    DeviceDescriptor device = report.device().descriptor();
    fact("Device", report.device().selector() + " · " + device.name() + " · " + device.kind());
    fact("Driver", (device.vendor() + ' ' + device.driver()).strip());
    device.features().forEach(this::fact);
    fact("Provider", report.providerClass() + ", SPI " + report.device().spiVersion());
    fact("JVM", jvm());
    fact("System", os());
    fact("Suite", "version " + ConformanceRun.SUITE_VERSION + ", salt " + report.salt());
    fact("Profiles", report.profiles().toString());
    fact("Started", report.start().toString());
    page.append("</dl>\n");
  }

  private void fact(String name, String value) {
    if (!value.isEmpty()) {
      page.append("<dt>").append(escape(name)).append("</dt><dd>");
      page.append(escape(value)).append("</dd>");
    }
  }

  /**
   * Rows are features of operations, columns data types; a cell says how many of how many passed.
   */
  private void matrix(Map<String, List<CaseOutcome>> operations) {
    List<DataType> types = new ArrayList<>();
    for (DataType type : DataType.values()) {
      if (report.outcomes().stream().anyMatch(o -> o.testCase().dataType() == type)) {
        types.add(type);
      }
    }
    page.append("<h2>Operation, feature, data type</h2>\n<table class=\"matrix\">");
    operations.forEach((operation, outcomes) -> {
      page.append("<tr><th>").append(escape(operation)).append("</th>");
      for (DataType type : types) {
        page.append("<th>").append(type.text()).append("</th>");
      }
      page.append("</tr>\n");
      Map<String, Map<DataType, List<CaseOutcome>>> rows = new TreeMap<>();
      for (CaseOutcome outcome : outcomes) {
        rows.computeIfAbsent(outcome.testCase().feature(), f -> new EnumMap<>(DataType.class))
            .computeIfAbsent(outcome.testCase().dataType(), t -> new ArrayList<>())
            .add(outcome);
      }
      rows.forEach((feature, cells) -> {
        page.append("<tr><td>").append(escape(feature)).append("</td>");
        for (DataType type : types) {
          page.append("<td>");
          cell(cells.getOrDefault(type, List.of()));
          page.append("</td>");
        }
        page.append("</tr>\n");
      });
    });
    page.append("</table>\n");
  }

  private void cell(List<CaseOutcome> outcomes) {
    if (outcomes.isEmpty()) {
      return;
    }
    Map<CaseStatus, Integer> counts = new EnumMap<>(CaseStatus.class);
    outcomes.forEach(o -> counts.merge(o.status(), 1, Integer::sum));
    int passed = counts.getOrDefault(CaseStatus.PASS, 0);
    String style;
    if (counts.containsKey(CaseStatus.FAIL)) {
      style = "fail";
    } else if (passed == outcomes.size()) {
      style = "pass";
    } else {
      style = counts.keySet().equals(java.util.Set.of(CaseStatus.NOT_RUN)) ? "none" : "part";
    }
    StringJoiner title = new StringJoiner(", ");
    counts.forEach((status, count) -> title.add(count + " " + words(status)));
    page.append("<span class=\"cell ").append(style).append("\" title=\"").append(title);
    page.append("\">").append(passed).append('/').append(outcomes.size()).append("</span>");
  }

  private void failures() {
    List<CaseOutcome> failed =
        report.outcomes().stream().filter(o -> o.status() == CaseStatus.FAIL).toList();
    if (failed.isEmpty()) {
      return;
    }
    page.append("<h2>Failures</h2>\n");
    for (CaseOutcome outcome : failed) {
      page.append("<pre>").append(escape(outcome.message())).append("</pre>\n");
    }
  }

  private void details(String operation, List<CaseOutcome> outcomes) {
    page.append("<details><summary>").append(escape(operation)).append(" <span class=\"dim\">");
    page.append(outcomes.size()).append(" cases</span></summary>\n<table><tr><th>Case</th>");
    page.append("<th>Result</th><th>Worst error / allowed</th><th>ms</th></tr>\n");
    for (CaseOutcome outcome : outcomes) {
      page.append("<tr><td><code>").append(escape(outcome.testCase().id())).append("</code>");
      if (!outcome.message().isEmpty()) {
        page.append("<pre class=\"dim\">").append(escape(outcome.message())).append("</pre>");
      }
      page.append("</td><td><span class=\"cell ").append(style(outcome.status())).append("\">");
      page.append(words(outcome.status())).append("</span></td><td class=\"n\">");
      if (outcome.worst() > 0) {
        bar(outcome.worst());
      }
      page.append("</td><td class=\"n\">");
      page.append(String.format(Locale.ROOT, "%.1f", outcome.nanos() / 1e6)).append("</td></tr>\n");
    }
    page.append("</table></details>\n");
  }

  private void bar(double ratio) {
    page.append(String.format(Locale.ROOT, "%.3g", ratio))
        .append(" <span class=\"bar\"><i class=\"");
    page.append(ratio > 1 ? "fail" : ratio > 0.9 ? "part" : "pass").append("\" style=\"width:");
    page.append(String.format(Locale.ROOT, "%.1f", 100 * Math.min(1, ratio)));
    page.append("%\"></i></span>");
  }

  private static String words(CaseStatus status) {
    return switch (status) {
      case PASS -> "passed";
      case FAIL -> "failed";
      case UNSUPPORTED -> "unsupported";
      case WAIVED -> "waived";
      case NOT_RUN -> "not run";
    };
  }

  private static String style(CaseStatus status) {
    return switch (status) {
      case PASS -> "pass";
      case FAIL -> "fail";
      case UNSUPPORTED, WAIVED -> "part";
      case NOT_RUN -> "none";
    };
  }

  private static String escape(String text) {
    return text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("\"", "&quot;");
  }
}
