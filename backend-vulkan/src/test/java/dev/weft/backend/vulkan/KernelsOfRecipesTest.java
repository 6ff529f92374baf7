package dev.weft.backend.vulkan;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.backend.vulkan.shaders.ShaderLibrary;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.fixtures.RecipeSpecs;
import dev.weft.gpu.fixtures.RecordingDevice;
import java.util.TreeSet;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * There is no compiler at run time: what a recipe may ask for on any device was compiled. Recipes
 * are told of 64 KiB of local memory at most.
 */
class KernelsOfRecipesTest {
  @ParameterizedTest
  @CsvSource({
    "2, 1024, 32768, NONE, true", // lavapipe
    "8, 1024, 65536, NONE, true",
    "132, 1024, 49152, COOPERATIVE, false", // NVIDIA
    "16, 1024, 49152, NONE, false",
    "48, 1024, 65536, NONE, false", // AMD
    "48, 1024, 65536, COOPERATIVE, false",
    "16, 1024, 32768, NONE, false",
    "16, 1024, 32768, COOPERATIVE, false",
    "16, 256, 32768, NONE, false",
    "16, 128, 16384, NONE, false",
  })
  void everyKernelThatRecipesAskForWasCompiled(
      int units, int group, long local, MatrixUnits matrix, boolean cpu) {
    ShaderLibrary library = ShaderLibrary.ofBackend();
    RecordingDevice device =
        new RecordingDevice(new ComputeTraits(units, group, local, matrix, 32, cpu), library::has);
    RecipeSpecs.prepareAll(device);
    TreeSet<String> missing = new TreeSet<>();
    for (KernelName name : device.asked()) {
      if (!library.has(name)) {
        missing.add(name.toString());
      }
    }
    assertEquals("", String.join("\n", missing));
  }
}
