package dev.weft.backend.opencl;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.gpu.KernelName;
import dev.weft.gpu.conv1d.Conv1dRecipe;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** The list of programs that the build compiles for AMD's GPUs is what recipes ask for. */
class ProgramListTest {
  private static final Path LIST = Path.of("src/build/programs.txt");

  /** What the chip decides. */
  private static final Set<String> OF_THE_DEVICE = Set.of("MATRIX", "WAVE");

  @Test
  void listsWhatConv1dAsksFor() throws IOException {
    assertEquals(programs(Conv1dRecipe.kernels()), listed("conv1d/"));
  }

  private static Set<String> programs(List<KernelName> kernels) {
    return kernels.stream()
        .map(kernel ->
            kernel.source()
                + kernel.constants().entrySet().stream()
                    .filter(constant -> !OF_THE_DEVICE.contains(constant.getKey()))
                    .map(constant -> " " + constant.getKey() + "=" + constant.getValue())
                    .collect(Collectors.joining()))
        .collect(Collectors.toCollection(TreeSet::new));
  }

  private static Set<String> listed(String folder) throws IOException {
    return Files.readAllLines(LIST).stream()
        .filter(line -> line.startsWith(folder))
        .collect(Collectors.toCollection(TreeSet::new));
  }
}
