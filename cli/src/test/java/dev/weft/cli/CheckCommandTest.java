package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CheckCommandTest {
  @TempDir Path folder;

  @Test
  void aRightResultIsGood() throws IOException {
    CommandLineRun run =
        CommandLineRun.of("check", Cases.golden(folder, "moba-single-block").toString());
    assertEquals(0, run.code(), run::toString);
    assertEquals("", run.err());
    run.wrote("1 case right on cpu:0");
    run.isPlain();
  }

  @Test
  void aWrongResultIsCodeOneAndSaysWhere() throws IOException {
    CommandLineRun run = CommandLineRun.of("check", Cases.wrong(folder).toString());
    assertEquals(1, run.code(), run::toString);
    run.wrote("WRONG");
    run.wrote("wrong: out: 1 of ");
    run.wrote("worst at [0, 5]");
    run.wrote("1 of 1 case WRONG on cpu:0");
  }

  @Test
  void theHighestCodeOfAllCasesCounts() throws IOException {
    CommandLineRun run =
        CommandLineRun.of(
            "check",
            Cases.truncated(folder).toString(),
            Cases.wrong(folder).toString(),
            Cases.golden(folder, Cases.CONV).toString());
    assertEquals(2, run.code(), run::toString);
    assertEquals(1, run.errLines().size(), run.err());
    run.namesOnLine(0, "truncated.safetensors");
    run.wrote("1 of 2 cases WRONG");
  }

  @Test
  void jsonTellsTheSame() throws IOException {
    CommandLineRun run =
        CommandLineRun.of(
            "check",
            "--json",
            Cases.wrong(folder).toString(),
            Cases.golden(folder, Cases.CONV).toString());
    assertEquals(1, run.code(), run::toString);
    CommandLineRun.parses(run.out());
    run.wrote("\"passed\" : false");
    run.wrote("\"position\" : \"[0, 5]\"");
  }
}
