package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import dev.weft.conformance.vectors.GoldenVectors;
import org.junit.jupiter.api.Test;

class DemoCommandTest {
  @Test
  void everyGoldenVectorIsComputedOnBothProvidersAndRight() {
    CommandLineRun run = CommandLineRun.of("demo");
    assertEquals(0, run.code(), run::toString);
    assertEquals("", run.err());
    for (String name : GoldenVectors.names()) {
      run.wrote(" " + name + " ");
    }
    assertFalse(run.out().contains("WRONG"), run.out());
    run.wrote("\nOK: all " + GoldenVectors.names().size() + " cases agree");
    run.isPlain();
  }
}
