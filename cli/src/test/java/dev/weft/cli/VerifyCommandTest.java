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
