package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.Weft;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BackendChoiceTest {
  @TempDir Path folder;

  @Test
  void anUnknownBackendListsTheKnownOnes() throws IOException {
    String file = Cases.golden(folder, Cases.CONV).toString();
    String out = folder.resolve("out").toString();
    for (String[] arguments :
        List.of(
            new String[] {"devices"},
            new String[] {"doctor"},
            new String[] {"demo"},
            new String[] {"verify"},
            new String[] {"bench"},
            new String[] {"check", file},
            new String[] {"run", file, "--out-dir", out})) {
      CommandLineRun.of(with(arguments, "--backend", "metal"))
          // With a GPU, opencl and vulkan stand before cpu.
          .failedWithOneLine(
              2,
              "backend 'metal'",
              "expected one of [cuda, ",
              "cpu",
              "opencl",
              "vulkan",
              ", reference]");
    }
    assertFalse(Files.exists(folder.resolve("out")), "nothing is made for a run that cannot be");
  }

  @Test
  void anUnavailableBackendSaysWhyAndWhatToDo() throws IOException {
    String file = Cases.golden(folder, Cases.CONV).toString();
    CommandLineRun.of(
            UnavailableProvider::besideTheRest,
            with(
                new String[] {"run", file, "--out-dir", folder.resolve("out").toString()},
                "--backend",
                "gone"))
        .failedWithOneLine(3, "'gone'", "libgone.so.1 was not found", "install the gone driver");
    assertFalse(Files.exists(folder.resolve("out")));
  }

  @Test
  void aDeviceThatIsNotThereIsUnavailable() throws IOException {
    String file = Cases.golden(folder, Cases.CONV).toString();
    CommandLineRun.of("check", file, "--backend", "cpu:7").failedWithOneLine(3, "'cpu'", "'7'");
  }

  @Test
  void noBackendAtAllIsUnavailable() throws IOException {
    String file = Cases.golden(folder, Cases.CONV).toString();
    CommandLineRun.of(() -> Weft.discover(List.of()), "check", file)
        .failedWithOneLine(3, "no backend could be opened", "add a weft-backend-* jar");
    CommandLineRun.of(() -> Weft.discover(List.of()), "devices")
        .failedWithOneLine(3, "add a weft-backend-* jar");
  }

  @Test
  void anUnavailableBackendIsPassedOverWhenNoneIsNamed() throws IOException {
    String file = Cases.golden(folder, Cases.CONV).toString();
    CommandLineRun run = CommandLineRun.of(UnavailableProvider::besideTheRest, "check", file);
    assertEquals(0, run.code(), run::toString);
    run.wrote("right on cpu:0");
  }

  @Test
  void theOptionMayStandBeforeOrBehindTheCommand() throws IOException {
    String file = Cases.golden(folder, Cases.CONV).toString();
    CommandLineRun.of("--backend", "reference", "check", file).wrote("right on reference:0");
    CommandLineRun.of("check", "--backend=reference:0", file).wrote("right on reference:0");
  }

  @Test
  void verboseShowsTheStackTraceBeforeTheLine() {
    CommandLineRun run = CommandLineRun.of("devices", "--backend", "metal", "--verbose");
    assertEquals(2, run.code());
    assertTrue(run.err().contains("\tat dev.weft"), run.err());
    run.namesOnLine(run.errLines().size() - 1, "backend 'metal'");
  }

  private static String[] with(String[] arguments, String... more) {
    String[] all = new String[arguments.length + more.length];
    System.arraycopy(arguments, 0, all, 0, arguments.length);
    System.arraycopy(more, 0, all, arguments.length, more.length);
    return all;
  }
}
