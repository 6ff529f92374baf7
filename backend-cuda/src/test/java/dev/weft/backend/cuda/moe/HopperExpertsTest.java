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
        named.put(tile.gated(type), tile.isStreaming() ? 1408 : 640);
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
      int bytes =
          tile.isStreaming()
              ? tile.sharedBytesOfBoth(HopperTile.MOST_EXPERTS)
              : tile.sharedBytes(HopperTile.MOST_EXPERTS);
      assertTrue(bytes <= MOST_SHARED_BYTES, tile.toString());
    }
  }

  private static HopperTile mixtral(long rows) {
    return HopperTile.of(rows, 8, 4096, 14336, MULTIPROCESSORS);
  }

  private static HopperTile qwen(long rows) {
    return HopperTile.of(rows, 128, 2048, 768, MULTIPROCESSORS);
  }

  private static HopperTile deepSeek(long rows) {
    return HopperTile.of(rows, 256, 7168, 2048, MULTIPROCESSORS);
  }

  @Test
  void fewTokensAreSplitWhereFewItemsWouldBeLeftForTheEnd() {
    assertEquals(HopperTile.SPLIT16, mixtral(2));
    assertEquals(HopperTile.SPLIT16, mixtral(16));
    assertEquals(HopperTile.SPLIT16, qwen(8));
    assertEquals(HopperTile.FEW32, deepSeek(8));
    assertEquals(HopperTile.FEW32, qwen(64));
    assertEquals(HopperTile.FEW32, mixtral(64));
  }

  @Test
  void fewRowsTakeNarrowTilesAndManyTakeWideOnes() {
    assertEquals(HopperTile.FEW32, deepSeek(4096));
    assertEquals(HopperTile.FEW48, mixtral(256));
    assertEquals(HopperTile.FEW48, qwen(4096));
    assertEquals(HopperTile.WIDE64, mixtral(8 * 40));
    assertEquals(HopperTile.WIDE128, qwen(128 * 99));
    assertEquals(HopperTile.WIDE160, qwen(16384));
    assertEquals(HopperTile.WIDE128, mixtral(8 * 99));
    assertEquals(HopperTile.DENSE160, mixtral(1024));
    assertEquals(HopperTile.DENSE160, deepSeek(65536));
  }
}
