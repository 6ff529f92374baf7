package dev.weft.backend.cuda.moe;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.backend.cuda.kernels.KernelManifest;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

/** The shapes of the Hopper kernels: what is built, what fits, which is taken. Needs no GPU. */
class HopperExpertsTest {
  private static final int MULTIPROCESSORS = 132;
  private static final int MOST_SHARED_BYTES = 227 * 1024;
  private static final String MODULE = "moe_hopper_sm_90a";

  private final KernelManifest manifest = KernelManifest.read();

  @Test
  void everyKernelNamedInJavaIsBuiltWithTheSizeThatJavaWritesAndNoOther() {
    needsKernels();
    Map<String, Integer> named = new TreeMap<>();
    named.put(HopperExperts.SORT_ROWS, 64);
    for (HopperTile tile : HopperTile.values()) {
      for (DataType type : new DataType[] {DataType.BF16, DataType.F16}) {
        named.put(tile.project(type), 640);
        named.put(tile.down(type), 640);
      }
    }
    Map<String, Integer> built = new TreeMap<>();
    manifest.kernels().values().stream()
        .filter(kernel -> kernel.module().equals(MODULE))
        .forEach(kernel -> built.put(kernel.name(), kernel.parameterBytes()));
    assertEquals(named, built);
  }

  @Test
  void noKernelSpills() {
    needsKernels();
    for (KernelManifest.Resources r : manifest.resources()) {
      if (r.name().startsWith("moe_hopper_")) {
        assertTrue(r.spillStores() == 0 && r.spillLoads() == 0, r.toString());
      }
    }
  }

  private void needsKernels() {
    Assumptions.assumeTrue(
        manifest.architectures(MODULE).contains("sm_90a"), "built without kernels for sm_90a");
  }

  @Test
  void everyShapeFitsAMultiprocessorWithTheMostExperts() {
    for (HopperTile tile : HopperTile.values()) {
      assertTrue(tile.sharedBytes(HopperTile.MOST_EXPERTS) <= MOST_SHARED_BYTES, tile.toString());
    }
  }

  @Test
  void aTokenOfAFewLargeExpertsIsSplit() {
    assertEquals(HopperTile.SPLIT16, HopperTile.ofDown(2, 8, 4096, 14336, MULTIPROCESSORS));
    assertEquals(HopperTile.SPLIT16, HopperTile.ofProject(2, 8, 14336, MULTIPROCESSORS));
    // 448 items in four rounds, against 896 in seven.
    assertEquals(HopperTile.SPLIT16, HopperTile.ofDown(8, 256, 7168, 2048, MULTIPROCESSORS));
    assertEquals(HopperTile.FEW32, HopperTile.ofProject(8, 256, 2048, MULTIPROCESSORS));
  }

  @Test
  void fewRowsTakeNarrowTilesAndManyTakeWideOnes() {
    assertEquals(HopperTile.FEW32, HopperTile.ofProject(8, 128, 768, MULTIPROCESSORS));
    assertEquals(HopperTile.FEW32, HopperTile.ofProject(1024, 256, 2048, MULTIPROCESSORS));
    assertEquals(HopperTile.WIDE64, HopperTile.ofProject(4096, 128, 768, MULTIPROCESSORS));
    assertEquals(HopperTile.WIDE64, HopperTile.ofDown(256, 8, 4096, 14336, MULTIPROCESSORS));
    assertEquals(HopperTile.WIDE128, HopperTile.ofProject(65536, 128, 768, MULTIPROCESSORS));
    assertEquals(HopperTile.DENSE160, HopperTile.ofProject(16384, 8, 14336, MULTIPROCESSORS));
  }
}
