package dev.weft.backend.opencl;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.fixtures.RecipeSpecs;
import dev.weft.gpu.fixtures.RecordingDevice;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/**
 * The list of programs, of which the build compiles those of AMD's GPUs, is what recipes ask for.
 */
class ProgramsTest {
  private static final Map<String, ComputeTraits> FAMILIES =
      new TreeMap<>(
          Map.of(
              "nvidia", new ComputeTraits(132, 1024, 98304, MatrixUnits.NVIDIA_MMA, 32, false),
              "cdna", new ComputeTraits(104, 256, 65536, MatrixUnits.AMD_MFMA, 64, false),
              "rdna3", new ComputeTraits(96, 256, 65536, MatrixUnits.AMD_WMMA, 32, false),
              "rdna4", new ComputeTraits(64, 256, 65536, MatrixUnits.AMD_WMMA_12, 32, false)));

  @Test
  void theListIsWhatRecipesAskFor() throws IOException {
    List<String> lines = new ArrayList<>();
    for (Map.Entry<String, ComputeTraits> family : FAMILIES.entrySet()) {
      RecordingDevice device = new RecordingDevice(family.getValue());
      RecipeSpecs.prepareAll(device);
      TreeSet<String> programs = new TreeSet<>();
      device.asked().forEach(name -> programs.add(line(name)));
      for (int type = 1; type <= 2; type++) {
        programs.add(
            String.format(
                "matrix/check MATRIX=%d TYPE=%d WAVE=%d WM=64 WN=32",
                family.getValue().matrixUnits().code(), type, family.getValue().waveSize()));
      }
      programs.add("matrix/local BYTES=" + (family.getKey().equals("nvidia") ? 98304 : 65536));
      programs.forEach(program -> lines.add(family.getKey() + " " + program));
    }
    List<String> listed =
        Files.readAllLines(Path.of("src", "build", "programs.txt")).stream()
            .filter(line -> !line.startsWith("#") && !line.isBlank())
            .toList();
    if (!lines.equals(listed)) {
      Files.createDirectories(Path.of("target"));
      Files.write(Path.of("target", "programs.txt"), lines);
    }
    assertEquals(
        String.join("\n", lines),
        String.join("\n", listed),
        "src/build/programs.txt is out of date; the right lines are in target/programs.txt");
  }

  private static String line(KernelName name) {
    StringBuilder line = new StringBuilder(name.source());
    name.constants()
        .forEach((constant, value) -> line.append(' ').append(constant).append('=').append(value));
    return line.toString();
  }
}
