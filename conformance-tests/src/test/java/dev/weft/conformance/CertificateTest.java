package dev.weft.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.conformance.mutants.Mutants;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.spi.KernelProvider;
import java.io.IOException;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** What a certificate says, and that nobody can change it, or its report, alone. */
class CertificateTest {
  private final KernelProvider cpu =
      ReferenceBackend.provider("dev.weft.backend.cpu.CpuProvider"::equals);

  private static ConformanceCase of(String feature, ConformanceCase.Body body) {
    return ConformanceCase.of("conv1d.forward", DataType.F32, "", feature, Family.RAMP).runs(body);
  }

  /** A report as the suite writes it, of a run of two cases. */
  private String json(KernelProvider provider) throws IOException {
    ConformanceCase.Body good = c -> c.require(true, "");
    try (ConformanceRun run =
        ConformanceRun.of(provider)
            .catalogues(
                List.of(() ->
                    Stream.of(
                        of("good", good),
                        ConformanceCase.of("conv1d.forward", DataType.BF16, "", "asks", Family.RAMP)
                            .spec(CausalConv1dSpec.builder().channels(4).width(3).build())
                            .runs(good))))
            .open()) {
      return new ReportJson(run.execute(outcome -> {})).text();
    }
  }

  /** A report that has every case of the suite, none of which was really run. */
  private String complete() throws IOException {
    ConformanceReport report;
    try (ConformanceRun run = ConformanceRun.of(cpu).open()) {
      report = run.report();
      for (ConformanceCase c : run.cases()) {
        boolean large = c.profiles().contains(Profile.LARGE);
        report.add(
            new CaseOutcome(
                c, large ? CaseStatus.NOT_RUN : CaseStatus.PASS, "", large ? 0 : 0.25, 1, null));
      }
    }
    assertTrue(report.complete());
    return new ReportJson(report).text();
  }

  private static void assertProblem(String part, String certificate, String json) {
    List<String> problems = Certificate.check(certificate, json);
    assertTrue(
        problems.stream().anyMatch(problem -> problem.contains(part)), () -> problems.toString());
  }

  @Test
  void a_complete_run_without_a_failure_is_certified() throws IOException {
    String json = complete();
    String page = Certificate.of(json);
    long large =
        Catalogues.all().stream().filter(c -> c.profiles().contains(Profile.LARGE)).count();
    assertEquals(List.of(), Certificate.check(page, json));
    assertTrue(Certificate.isOfThisSuite(json));
    assertTrue(page.startsWith("# Weft conformance: cpu "), page);
    assertTrue(page.lines().findFirst().orElse("").endsWith(", PASSED"), page);
    for (String part :
        List.of(
            Suite.hash(),
            "| Suite | version " + ConformanceRun.SUITE_VERSION,
            "| Device | cpu:0, ",
            "| JVM | " + ReportPage.jvm(),
            "| Driver | ",
            "| Provider's version | ",
            "| BF16 | ",
            "| LARGE | 0 | 0 | 0 | 0 | " + large + " |  |",
            " | 0.250 |")) {
      assertTrue(page.contains(part), part + " in " + page);
    }
    assertTrue(page.lines().count() < 60, "one page");
  }

  @Test
  void a_part_of_the_suite_certifies_nothing() throws IOException {
    String json = json(cpu);
    String page = Certificate.of(json);
    assertTrue(page.lines().findFirst().orElse("").endsWith(", INCOMPLETE"), page);
    assertTrue(page.contains("this certifies nothing"), page);
    assertEquals(List.of(), Certificate.check(page, json));
  }

  @Test
  void what_is_not_supported_is_named_with_its_reason() throws IOException {
    try (ConformanceRun run =
        ConformanceRun.of(new Mutants(cpu).supportsNothing())
            .mandatory(EnumSet.of(Profile.CORE), Set.of("device"))
            .filter("conv1d.backward/f32")
            .open()) {
      String page = Certificate.of(new ReportJson(run.execute(outcome -> {})).text());
      assertTrue(page.contains("| Not supported: operation | reason | cases |"), page);
      assertTrue(page.contains("| conv1d.backward | "), page);
    }
  }

  @Test
  void a_failure_and_a_waiver_are_told() throws IOException {
    ConformanceCase.Body bad = c -> c.require(false, "it is wrong");
    try (ConformanceRun run =
        ConformanceRun.of(cpu)
            .catalogues(List.of(() -> Stream.of(of("bad", bad), of("known", bad))))
            .waivers(Map.of("conv1d.forward/f32/known#ramp", "https://example.org/7"))
            .open()) {
      String page = Certificate.of(new ReportJson(run.execute(outcome -> {})).text());
      assertTrue(page.lines().findFirst().orElse("").endsWith(", FAILED"), page);
      assertTrue(page.contains("| Waived: case | reason | cases |"), page);
      assertTrue(page.contains("| conv1d.forward/f32/known#ramp | https://example.org/7 "), page);
    }
  }

  @Test
  void a_changed_certificate_is_found_out() throws IOException {
    String json = complete();
    String page = Certificate.of(json);
    assertProblem(
        "line 1 of the certificate is '# Weft conformance: cuda",
        page.replaceFirst("cpu", "cuda"),
        json);
    assertProblem("0.125", page.replace("0.250", "0.125"), json);
    assertProblem("white space", page + "\n", json);
  }

  @Test
  void a_changed_report_is_found_out() throws IOException {
    String json = complete();
    String page = Certificate.of(json);
    assertFalse(Certificate.check(page, json.replaceFirst("\"cpu\"", "\"cuda\"")).isEmpty());
    assertProblem(
        "Report's SHA-256", page, json.replaceFirst("\"millis\" : 1.0E-6", "\"millis\" : 0"));
  }

  /** Even with a certificate made to fit, such as by this very class. */
  @Test
  void a_report_that_contradicts_itself_is_found_out() throws IOException {
    String json = complete();
    String failing = json.replaceFirst("\"status\" : \"PASS\"", "\"status\" : \"FAIL\"");
    assertProblem("cases are FAIL, but lists 1", Certificate.of(failing), failing);
    assertProblem("the report says passed: true", Certificate.of(failing), failing);
    String fewer =
        json.replaceFirst("\\{ \"id\" : \"moba[^\n]*\n *", "")
            .replaceFirst("\"PASS\" : \\d+", "\"PASS\" : " + (passes(json) - 1));
    assertProblem("it is complete, but lacks 1 cases", Certificate.of(fewer), fewer);
    String above = json.replaceFirst("Allowed\" : 0.25", "Allowed\" : 2.5");
    assertProblem("above what is allowed", Certificate.of(above), above);
    String unsupported =
        json.replaceFirst(
                "\"status\" : \"PASS\"(?=[^\n]*\n *\\{ \"id\" : \"conv1d)",
                "\"status\" : \"UNSUPPORTED\"")
            .replaceFirst(
                "(?<=conv1d.forward\", \"dataType\" : \"f32\"[^\n]{0,200})\"PASS\"",
                "\"UNSUPPORTED\"");
    assertProblem("the report calls it mandatory", Certificate.of(unsupported), unsupported);
    assertProblem("not a report", page(json), json.substring(0, json.length() / 2));
    assertProblem("not a report", page(json), "{}");
  }

  private static String page(String json) {
    return Certificate.of(json);
  }

  private static int passes(String json) {
    return json.split("\"status\" : \"PASS\"", -1).length - 1;
  }
}
