package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.Weft;
import dev.weft.cli.bench.Preset;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BenchCommandTest {
  @TempDir Path folder;

  @Test
  void theSmallShapesOfAllOperationsAreMeasured() throws IOException {
    Path json = folder.resolve("new/bench.json");
    Path html = folder.resolve("new/bench.html");
    CommandLineRun run =
        CommandLineRun.of(
            "bench", "--seconds", "0.01", "--json", json.toString(), "--html", html.toString());
    assertEquals(0, run.code(), run::toString);
    run.wrote("Ceilings of this run: copy ");
    String numbers = Files.readString(json);
    CommandLineRun.parses(numbers);
    String page = Files.readString(html);
    for (String name :
        new String[] {
          "moba/forward/small",
          "moba/backward/small",
          "moba/paged/small",
          "moe/forward/small",
          "moe/backward/small",
          "conv1d/forward/small",
          "conv1d/backward/small",
          "conv1d/update/small"
        }) {
      run.wrote("\n" + name + " ");
      assertTrue(numbers.contains("\"preset\" : \"" + name + "\""), numbers);
      assertTrue(page.contains(name), page);
    }
    assertEquals(
        3,
        numbers.lines().filter(line -> line.contains("\"copyNanos\"")).count(),
        "beside a copy of its bytes stands conv1d alone");
    assertTrue(page.contains("<svg "), page);
    assertFalse(page.contains("http"), "the page needs nothing from elsewhere");
    run.isPlain();
  }

  @Test
  void aShapeTooLargeForTheDeviceIsRefusedBeforeItIsMade() {
    Preset huge =
        new Preset(
            "moe/forward/huge",
            false,
            1L << 50,
            (_, _) -> {
              throw new AssertionError("made");
            });
    try (Device device = Weft.open("cpu")) {
      IllegalArgumentException e =
          assertThrows(IllegalArgumentException.class, () -> huge.create(device, DataType.F32));
      String message = String.valueOf(e.getMessage());
      assertTrue(message.contains("moe/forward/huge: expected a device with memory"), message);
    }
  }
}
