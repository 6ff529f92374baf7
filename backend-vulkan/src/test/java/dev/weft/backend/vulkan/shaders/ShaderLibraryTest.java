package dev.weft.backend.vulkan.shaders;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.gpu.KernelName;
import dev.weft.gpu.conv1d.Conv1dRecipe;
import java.util.Map;
import org.junit.jupiter.api.Test;

class ShaderLibraryTest {
  private final ShaderLibrary library = ShaderLibrary.ofBackend();

  @Test
  void everyKernelThatARecipeAsksForWasCompiled() {
    for (KernelName name : Conv1dRecipe.kernels()) {
      ShaderModule module = library.module(name);
      assertTrue(library.spirv(module).length > 1000, name::toString);
    }
  }

  @Test
  void constantsAreCompiledInOrSpecialised() {
    KernelName name =
        KernelName.of("conv1d/forward", "conv1d_forward")
            .with("TAPS", 3)
            .with("TYPE", 2)
            .with("VECTOR", 8);
    ShaderModule module = library.module(name);
    assertEquals(Map.of("TYPE", 2, "VECTOR", 8), module.compiled());
    assertEquals(Map.of(0, 3), ShaderLibrary.specialisation(module, name));
    assertEquals(128, module.groupSize());
    assertFalse(module.pushed());
  }

  @Test
  void whatWasNotCompiledIsNamed() {
    KernelName name = KernelName.of("conv1d/forward", "conv1d_forward").with("TYPE", 7);
    IllegalStateException e = assertThrows(IllegalStateException.class, () -> library.module(name));
    assertTrue(String.valueOf(e.getMessage()).contains("conv1d_forward{TYPE=7}"), e.getMessage());
  }
}
