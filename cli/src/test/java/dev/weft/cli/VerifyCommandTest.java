package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DiscoveryReport;
import dev.weft.Weft;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class VerifyCommandTest {
  private static final String ONE_CASE =
      "conv1d.forward/f32/C=19,W=3,L=0+1+2+3+4+17+2/ragged#exact";

  @TempDir Path folder;

  @Test
  void casesThatHoldPassAndAreReported() throws IOException {
    Path report = folder.resolve("report");
    CommandLineRun run =
        CommandLineRun.of("verify", "--case", ONE_CASE, "--report", report.toString());
    assertEquals(0, run.code(), run::toString);
    run.wrote("PASSED: 1 case on cpu:0");
    run.isPlain();
    CommandLineRun.parses(Files.readString(report.resolve("cpu.json")));
    assertTrue(Files.readString(report.resolve("cpu.html")).contains("cpu"));
  }

  @Test
  void aRunWithoutACaseFails() {
    CommandLineRun run = CommandLineRun.of("verify", "--case", "no/such/case");
    assertEquals(1, run.code(), run::toString);
    run.wrote("FAILED: no case ran; none matches 'no/such/case'");
  }

  @Test
  void casesOutsideTheProfilesAreNotRun() {
    CommandLineRun run = CommandLineRun.of("verify", "--case", ONE_CASE, "--profile", "large");
    assertEquals(1, run.code(), run::toString);
    run.wrote("FAILED: no case ran, see --profile");
  }

  @Test
  void aBackendThatSupportsNothingFails() {
    CommandLineRun run =
        CommandLineRun.of(
            VerifyCommandTest::withAStone, "verify", "--backend", "nothing", "--case", ONE_CASE);
    assertEquals(1, run.code(), run::toString);
    run.wrote("it is a stone");
    run.wrote("Replay: ./weft verify --backend nothing:0 --case '" + ONE_CASE + "'");
    run.wrote("FAILED: 1 of 1 case on nothing:0");
    assertEquals(List.of("failed: " + ONE_CASE), run.errLines(), run.err());
  }

  @Test
  void whatIsNotClaimedMayBeUnsupported() {
    CommandLineRun run =
        CommandLineRun.of(
            VerifyCommandTest::withAStone,
            "verify",
            "--backend",
            "nothing",
            "--operation",
            "moba",
            "--case",
            ONE_CASE);
    assertEquals(1, run.code(), run::toString);
    run.wrote("FAILED: no case ran");
    CommandLineRun.of("verify", "--operation", "conv2d")
        .failedWithOneLine(2, "--operation", "[conv1d, moba, moe]", "'conv2d'");
  }

  @Test
  void aKnownFailureIsWaivedByItsIdWithAReason() throws IOException {
    Path waivers = folder.resolve("waivers.txt");
    Files.writeString(waivers, "# known\n\n" + ONE_CASE + "  https://example.org/issues/7\n");
    CommandLineRun run =
        CommandLineRun.of(
            VerifyCommandTest::withAStone,
            "verify",
            "--backend",
            "nothing",
            "--waivers",
            waivers.toString(),
            "--case",
            ONE_CASE);
    assertEquals(0, run.code(), run::toString);
    run = CommandLineRun.of("verify", "--waivers", waivers.toString(), "--case", ONE_CASE);
    assertEquals(0, run.code(), run::toString);
    run.wrote("passed, so its waiver can go: https://example.org/issues/7");
    Files.writeString(waivers, "conv1d/gone#random a reason");
    CommandLineRun.of("verify", "--waivers", waivers.toString())
        .failedWithOneLine(2, "no case has the id [conv1d/gone#random]");
    Files.writeString(waivers, "\nno-reason");
    CommandLineRun.of("verify", "--waivers", waivers.toString())
        .failedWithOneLine(2, "waivers.txt:2: expected a case's id, a space and the reason");
  }

  @Test
  void aCertificateIsCheckedAgainstItsReport() throws IOException {
    Path junit = folder.resolve("junit.xml");
    CommandLineRun run =
        CommandLineRun.of(
            "verify",
            "--case",
            ONE_CASE,
            "--report",
            folder.toString(),
            "--junit",
            junit.toString());
    assertEquals(0, run.code(), run::toString);
    assertTrue(Files.readString(junit).contains("<testsuites "));
    Path page = folder.resolve("cpu.md");
    run = CommandLineRun.of("certificate", page.toString());
    assertEquals(0, run.code(), run::toString);
    run.wrote("INCOMPLETE");
    run.wrote("VALID: " + page);
    Files.writeString(page, Files.readString(page).replace("INCOMPLETE", "PASSED"));
    run = CommandLineRun.of("certificate", page.toString(), folder.resolve("cpu.json").toString());
    assertEquals(1, run.code(), run::toString);
    run.wrote("line 1 of the certificate is");
    run.wrote("NOT VALID: ");
    CommandLineRun.of("certificate", folder.resolve("no.md").toString())
        .failedWithOneLine(2, "no.md: no such file");
  }

  @Test
  void theDemoSaysWhatABackendCannotDo() {
    CommandLineRun run =
        CommandLineRun.of(VerifyCommandTest::withAStone, "demo", "--backend", "nothing");
    assertEquals(3, run.code(), run::toString);
    run.wrote("not supported");
    run.wrote("it is a stone");
    run.wrote("\nINCOMPLETE: ");
  }

  private static DiscoveryReport withAStone() {
    return Weft.discover().with(List.of(new SupportsNothingProvider()));
  }
}
