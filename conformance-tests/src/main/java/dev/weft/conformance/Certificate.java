package dev.weft.conformance;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;

/**
 * One page in Markdown that says what a report proves: which suite, provider, device, driver and
 * JVM, how many cases ended how in each profile and operation, how near the largest error came to
 * what is allowed, what is not supported and why, what is waived.
 *
 * <p>A certificate is a pure function of the report's JSON and bears its SHA-256. {@link #check}
 * makes it anew: whoever changes the one without the other is found out. It is no signature; who
 * needs to know by whom a report was made signs both files by means of their own.
 */
public final class Certificate {
  private final JsonTree report;
  private final String hash;
  private final List<JsonTree> cases;
  private final StringBuilder page = new StringBuilder();

  private Certificate(String json) {
    report = JsonTree.parse(json);
    hash = Artifact.sha256(json);
    cases = report.objects("cases");
  }

  /**
   * Writes the certificate of a report.
   *
   * @param json the report, as {@link ConformanceReport#writeTo} wrote it
   * @return the page, in Markdown
   * @throws IllegalArgumentException if that is not a report
   */
  public static String of(String json) {
    return new Certificate(json).text();
  }

  /**
   * Checks a certificate against its report, and the report against itself: counts, verdict,
   * profiles and, where this is the suite that it was made by, the list of cases.
   *
   * @param certificate a page that {@link #of} wrote
   * @param json the report that it was written of
   * @return what does not fit; empty if all does
   */
  public static List<String> check(String certificate, String json) {
    List<String> problems = new ArrayList<>();
    Certificate made;
    try {
      made = new Certificate(json);
      made.checkReport(problems);
      compare(certificate, made.text(), problems);
    } catch (IllegalArgumentException | ClassCastException e) {
      problems.add("this is not a report of the suite: " + e.getMessage());
    }
    return List.copyOf(problems);
  }

  /**
   * Tells whether a report was made by the very suite that is in use here.
   *
   * @param json the report
   * @return whether the hashes of the suite's code are equal
   */
  public static boolean isOfThisSuite(String json) {
    return JsonTree.parse(json).text("suiteHash").equals(Suite.hash());
  }

  private static void compare(String given, String made, List<String> problems) {
    if (given.equals(made)) {
      return;
    }
    List<String> left = given.lines().toList();
    List<String> right = made.lines().toList();
    for (int i = 0; i < Math.max(left.size(), right.size()); i++) {
      String is = i < left.size() ? left.get(i) : "";
      String expected = i < right.size() ? right.get(i) : "";
      if (!is.equals(expected)) {
        problems.add(
            "line "
                + (i + 1)
                + " of the certificate is '"
                + is
                + "', but by the report it is '"
                + expected
                + "'");
        return;
      }
    }
    problems.add("the certificate's white space is not that of a certificate");
  }

  private void checkReport(List<String> problems) {
    JsonTree counts = report.object("counts");
    for (CaseStatus status : CaseStatus.values()) {
      long counted = count(cases, status);
      if (counts.whole(status.name()) != counted) {
        problems.add(
            "the report says "
                + counts.whole(status.name())
                + " cases are "
                + status
                + ", but lists "
                + counted);
      }
    }
    boolean passed = count(cases, CaseStatus.FAIL) == 0 && executed(cases) > 0;
    if (report.flag("passed") != passed) {
      problems.add(
          "the report says passed: " + report.flag("passed") + ", but its cases " + passed);
    }
    Set<String> ids = new HashSet<>();
    for (JsonTree c : cases) {
      String id = c.text("id");
      if (!ids.add(id)) {
        problems.add("the report lists twice: " + id);
      }
      if (is(c, CaseStatus.PASS)
          && !(c.has("worstErrorOverAllowed") && c.number("worstErrorOverAllowed") <= 1)) {
        problems.add("passed, though its error is above what is allowed: " + id);
      }
      String refusal = refusal(c);
      if (!refusal.isEmpty()) {
        problems.add(id + ": " + refusal);
      }
    }
    if (report.text("suiteHash").equals(Suite.hash())) {
      checkCases(ids, problems);
    }
  }

  /** What a case may not say of itself, in view of the run's profiles. */
  private String refusal(JsonTree c) {
    boolean selected = report.texts("profiles").containsAll(c.texts("profiles"));
    String operation = c.text("operation");
    boolean duty =
        report.texts("mandatory").containsAll(c.texts("profiles"))
            && report.texts("operations").stream().anyMatch(o -> operation.startsWith(o + '.'));
    if (!selected && !is(c, CaseStatus.NOT_RUN)) {
      return "it was run, though its profiles were not";
    }
    return duty && is(c, CaseStatus.UNSUPPORTED)
        ? "it is unsupported, though the report calls it mandatory"
        : "";
  }

  private void checkCases(Set<String> ids, List<String> problems) {
    List<String> known = Suite.caseIds();
    Set<String> missing = new HashSet<>(known);
    missing.removeAll(ids);
    if (report.whole("suiteCases") != known.size()) {
      problems.add(
          "the report says that the suite has "
              + report.whole("suiteCases")
              + " cases, but it has "
              + known.size());
    }
    if (report.flag("complete") && !missing.isEmpty()) {
      problems.add(
          "the report says that it is complete, but lacks "
              + missing.size()
              + " cases, such as "
              + missing.iterator().next());
    }
  }

  private String verdict() {
    if (count(cases, CaseStatus.FAIL) > 0) {
      return "FAILED";
    }
    return report.flag("complete") && executed(cases) > 0 ? "PASSED" : "INCOMPLETE";
  }

  private String text() {
    JsonTree provider = report.object("provider");
    JsonTree device = report.object("device");
    long run = executed(cases);
    page.append("# Weft conformance: ").append(provider.text("id")).append(' ');
    page.append(provider.text("version")).append(", ").append(verdict()).append("\n\n");
    page.append(
        switch (verdict()) {
          case "PASSED" -> "Of " + run + " cases that were run none failed.";
          case "FAILED" ->
              "Of " + run + " cases that were run " + count(cases, CaseStatus.FAIL) + " failed.";
          default ->
              "Only "
                  + run
                  + " cases were run, not all of the profiles: this certifies"
                  + " nothing.";
        });
    page.append(" Held to: ").append(String.join(", ", report.texts("operations")));
    page.append("; mandatory: ").append(String.join(", ", report.texts("mandatory")));
    page.append(".\n\n| | |\n|---|---|\n");
    fact(
        "Suite",
        "version "
            + report.text("suiteVersion")
            + " of Weft "
            + report.text("weft")
            + ", "
            + report.whole("suiteCases")
            + " cases");
    fact("Suite's SHA-256", code(report.text("suiteHash")));
    fact("Provider", code(provider.text("class")) + ", SPI " + provider.text("spi"));
    fact("Provider's version", provider.text("version"));
    fact("Provider's jar", code(provider.text("file")));
    fact("Jar's SHA-256", code(provider.text("sha256")));
    fact(
        "Device",
        provider.text("id")
            + ':'
            + device.whole("index")
            + ", "
            + device.text("name")
            + " ("
            + device.text("kind")
            + ")");
    fact("Driver", (device.text("vendor") + ' ' + device.text("driver")).strip());
    fact("JVM", report.text("jvm"));
    fact("System", report.text("os"));
    fact("Run", report.text("started") + ", salt " + report.whole("salt"));
    fact("Report's SHA-256", code(hash));
    table("Profile", c -> c.texts("profiles"), report.texts("profiles"));
    table("Operation", c -> List.of(c.text("operation")), List.of());
    reasons("Not supported", "Operation", CaseStatus.UNSUPPORTED, c -> c.text("operation"));
    reasons("Waived", "Case", CaseStatus.WAIVED, c -> c.text("id"));
    return page.toString();
  }

  private void fact(String name, String value) {
    if (!value.isEmpty() && !value.equals("``")) {
      page.append("| ").append(name).append(" | ").append(cell(value)).append(" |\n");
    }
  }

  /** Counts by the groups that a case belongs to; one of several profiles counts in each. */
  private void table(
      String heading, Function<JsonTree, List<String>> groups, List<String> alwaysNamed) {
    Map<String, List<JsonTree>> byGroup = new LinkedHashMap<>();
    alwaysNamed.forEach(group -> byGroup.put(group, new ArrayList<>()));
    for (JsonTree c : cases) {
      for (String group : groups.apply(c)) {
        byGroup.computeIfAbsent(group, g -> new ArrayList<>()).add(c);
      }
    }
    byGroup.put("all", cases);
    page.append("\n| ")
        .append(heading)
        .append(" | passed | failed | unsupported | waived | not run");
    page.append(" | largest error / allowed |\n|---|---:|---:|---:|---:|---:|---:|\n");
    byGroup.forEach((group, members) -> {
      page.append("| ").append(cell(group));
      for (CaseStatus status : CaseStatus.values()) {
        page.append(" | ").append(count(members, status));
      }
      page.append(" | ").append(worst(members)).append(" |\n");
    });
  }

  private void reasons(
      String title, String heading, CaseStatus status, Function<JsonTree, String> group) {
    Map<String, Integer> counts = new LinkedHashMap<>();
    for (JsonTree c : cases) {
      if (is(c, status)) {
        String reason = c.textOrEmpty("message").lines().findFirst().orElse("");
        counts.merge(cell(group.apply(c)) + " | " + cell(reason), 1, Integer::sum);
      }
    }
    if (!counts.isEmpty()) {
      page.append("\n| ").append(title).append(": ").append(heading.toLowerCase(Locale.ROOT));
      page.append(" | reason | cases |\n|---|---|---:|\n");
      counts.forEach(
          (row, n) -> page.append("| ").append(row).append(" | ").append(n).append(" |\n"));
    }
  }

  private static String worst(List<JsonTree> members) {
    double worst = 0;
    boolean any = false;
    for (JsonTree c : members) {
      if (is(c, CaseStatus.PASS) || is(c, CaseStatus.FAIL) || is(c, CaseStatus.WAIVED)) {
        any = true;
        // What is infinitely wrong is no number in JSON and has no field.
        worst =
            Math.max(
                worst,
                c.has("worstErrorOverAllowed")
                    ? c.number("worstErrorOverAllowed")
                    : Double.POSITIVE_INFINITY);
      }
    }
    return any ? String.format(Locale.ROOT, "%.3f", worst) : "";
  }

  private static long count(List<JsonTree> members, CaseStatus status) {
    return members.stream().filter(c -> is(c, status)).count();
  }

  private static long executed(List<JsonTree> members) {
    return count(members, CaseStatus.PASS)
        + count(members, CaseStatus.FAIL)
        + count(members, CaseStatus.WAIVED);
  }

  private static boolean is(JsonTree c, CaseStatus status) {
    return c.text("status").equals(status.name());
  }

  private static String code(String text) {
    return '`' + text + '`';
  }

  private static String cell(String text) {
    return text.replace("|", "\\|").replace('\n', ' ');
  }
}
