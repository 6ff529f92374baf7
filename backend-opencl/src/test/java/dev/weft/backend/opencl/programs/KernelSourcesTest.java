package dev.weft.backend.opencl.programs;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class KernelSourcesTest {
  @Test
  void includesAreFoundBesideTheFileThatNamesThem() {
    String text = KernelSources.read("matrix/check");
    assertTrue(text.contains("#line 1 \"common/types.clh\""));
    assertTrue(text.contains("#line 1 \"common/tile_plain.clh\""));
    assertFalse(text.lines().anyMatch(line -> line.strip().startsWith("#include")));
  }

  @Test
  void aFileIsIncludedAsOftenAsItIsNamed() {
    String text = KernelSources.read("test/scale");
    assertEquals(2, count(text, "#line 1 \"test/square.clh\""));
    assertEquals(2, count(text, "float square(float x)"), "its guard is the compiler's business");
  }

  @Test
  void anUnknownSourceIsNamed() {
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> KernelSources.read("moba/none"));
    assertTrue(String.valueOf(e.getMessage()).contains("moba/none.cl"));
  }

  private static int count(String text, String part) {
    return text.split(java.util.regex.Pattern.quote(part), -1).length - 1;
  }
}
