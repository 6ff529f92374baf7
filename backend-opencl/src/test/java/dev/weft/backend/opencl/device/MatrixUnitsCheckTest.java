package dev.weft.backend.opencl.device;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.gpu.MatrixUnits;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class MatrixUnitsCheckTest {
  @ParameterizedTest
  @CsvSource({
    "NVIDIA H200, 90, 32, NVIDIA_MMA",
    "Tesla V100-SXM2-16GB, 70, 32, NONE",
    "gfx90a:sramecc+:xnack-, 0, 64, AMD_MFMA",
    "gfx942:sramecc+:xnack-, 0, 64, AMD_MFMA",
    "gfx1100, 0, 32, AMD_WMMA",
    "gfx1100, 0, 64, NONE",
    "gfx1201, 0, 32, AMD_WMMA_12",
    "gfx1030, 0, 32, NONE",
    "gfx906:sramecc-:xnack-, 0, 64, NONE",
    "pthread-skylake-avx512, 0, 32, NONE",
  })
  void namesPromiseUnits(String name, int capability, int wave, MatrixUnits units) {
    assertEquals(units, MatrixUnitsCheck.byName(name, capability, wave));
  }
}
