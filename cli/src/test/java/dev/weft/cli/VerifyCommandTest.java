package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class VerifyCommandTest {
  @Test
  void aRunWithoutACaseFails() {
    CommandLineRun run = CommandLineRun.of("verify", "--case", "no/such/case");
    assertEquals(1, run.code(), run::toString);
    run.wrote("FAILED: no case ran; none matches 'no/such/case'");
  }
}
