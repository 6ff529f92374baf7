package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;

class UsageTest {
  private static final List<String> COMMANDS =
      List.of(
          "demo", "devices", "doctor", "run", "check", "verify", "certificate", "bench", "test");

  @Test
  void helpNamesEveryCommandAndExitCode() {
    CommandLineRun run = withoutDiscovery("--help");
    assertEquals(0, run.code());
    assertEquals("", run.err());
    for (String command : COMMANDS) {
      run.wrote("\n  " + command + " ");
    }
    run.wrote("0 good, 1 wrong result, 2 bad usage, 3 backend unavailable");
    run.isPlain();
  }

  @Test
  void everyCommandHasHelpThatSaysWhatItDoes() {
    for (String command : COMMANDS) {
      CommandLineRun run = withoutDiscovery(command, "--help");
      assertEquals(0, run.code());
      run.wrote("Usage: weft " + command);
      run.wrote("--backend");
      for (String line : run.out().lines().toList()) {
        assertTrue(line.length() <= 80, line);
      }
    }
  }

  @Test
  void theVersionIsTold() {
    CommandLineRun run = withoutDiscovery("--version");
    assertEquals(0, run.code());
    assertTrue(run.out().startsWith("weft "), run.out());
  }

  @Test
  void badUsageIsOneLineAndCodeTwo() {
    withoutDiscovery().failedWithOneLine(2, "a command is missing", "demo", "weft --help");
    withoutDiscovery("frob").failedWithOneLine(2, "unknown command 'frob'", "demo, devices");
    withoutDiscovery("--frob").failedWithOneLine(2, "unknown option '--frob'", "weft --help");
    withoutDiscovery("devices", "--frob")
        .failedWithOneLine(2, "unknown option '--frob'", "weft devices --help");
    withoutDiscovery("devices", "x").failedWithOneLine(2, "unexpected argument 'x'");
    withoutDiscovery("run", "x").failedWithOneLine(2, "--out-dir=DIR");
    withoutDiscovery("run", "--out-dir", "x").failedWithOneLine(2, "CASE");
    withoutDiscovery("check").failedWithOneLine(2, "CASE");
    withoutDiscovery("check", "x", "--dtype", "f64")
        .failedWithOneLine(2, "--dtype", "expected one of f32, f16, bf16, but was 'f64'");
    withoutDiscovery("verify", "--profile", "ALL").failedWithOneLine(2, "--profile", "CORE", "ALL");
    withoutDiscovery("verify", "--salt", "pepper").failedWithOneLine(2, "--salt", "pepper");
    withoutDiscovery("bench", "--seconds", "0")
        .failedWithOneLine(2, "--seconds", "more than 0", "was 0");
    withoutDiscovery("bench", "nothing/like/it")
        .failedWithOneLine(2, "PRESET", "weft bench --list", "'nothing/like/it'");
  }

  @Test
  void testSaysThatTheScriptDoesIt() {
    withoutDiscovery("test", "clean").failedWithOneLine(2, "./weft test");
  }

  @Test
  void benchListsItsPresets() {
    CommandLineRun run = withoutDiscovery("bench", "--list");
    assertEquals(0, run.code());
    run.wrote("moba/forward/32768,16,128,512,8\n");
    run.wrote("moe/forward/DeepSeek-V3,T=128\n");
    run.wrote("conv1d/update/B=128\n");
  }

  /** None of these may look for backends, since that loads native libraries. */
  private static CommandLineRun withoutDiscovery(String... arguments) {
    return CommandLineRun.of(
        () -> {
          throw new AssertionError("backends were looked for");
        },
        arguments);
  }
}
