package dev.weft.backend.cuda.moba;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.backend.cuda.kernels.KernelManifest;
import dev.weft.moba.MobaAttentionSpec;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

/**
 * The Hopper kernels of the forward pass, without a GPU: what nvcc made of them, and their table.
 */
class MobaHopperKernelsTest {
  private static final int PAST_ARGUMENTS = 384;
  private static final int OWN_ARGUMENTS = 640;

  private static final KernelManifest MANIFEST = KernelManifest.read();

  private static Map<String, Integer> named() {
    Map<String, Integer> sizes = new TreeMap<>();
    for (MobaHopperTiles tiles : MobaHopperTiles.all()) {
      sizes.put(tiles.past(), PAST_ARGUMENTS);
      sizes.put(tiles.own(), OWN_ARGUMENTS);
    }
    return sizes;
  }

  private static void needsKernels() {
    Assumptions.assumeTrue(
        MANIFEST.modules().contains("moba_past_blocks_sm_90a"),
        "built without nvcc or without sm_90a: there are no kernels to look at");
  }

  @Test
  void everyKernelNamedInJavaIsBuiltWithTheArgumentSizeThatJavaWrites() {
    needsKernels();
    Map<String, Integer> built = new TreeMap<>();
    for (String name : named().keySet()) {
      KernelManifest.Kernel kernel = MANIFEST.kernels().get(name);
      built.put(name, kernel == null ? -1 : kernel.parameterBytes());
    }
    assertEquals(named(), built);
  }

  @Test
  void noKernelSpills() {
    needsKernels();
    List<KernelManifest.Resources> all =
        MANIFEST.resources().stream().filter(r -> named().containsKey(r.name())).toList();
    assertFalse(all.isEmpty());
    for (KernelManifest.Resources r : all) {
      assertTrue(r.spillStores() == 0 && r.spillLoads() == 0, r.toString());
    }
  }

  @Test
  void sharedMemoryFitsAThreadBlock() {
    for (MobaHopperTiles tiles : MobaHopperTiles.all()) {
      assertTrue(tiles.pastSharedBytes() <= MobaHopperTiles.MOST_SHARED_BYTES, tiles.toString());
      assertTrue(3 * (tiles.ownSharedBytes(8) + 1024) <= 228 * 1024, tiles.toString());
    }
  }

  private static MobaAttentionSpec.Builder spec() {
    return MobaAttentionSpec.builder()
        .dataType(DataType.BF16)
        .heads(8)
        .kvHeads(2)
        .headDim(128)
        .blockSize(512)
        .topK(4);
  }

  @Test
  void specsOutsideTheTableHaveNoTiles() {
    assertTrue(MobaHopperTiles.of(spec().build()).isPresent());
    assertTrue(MobaHopperTiles.of(spec().dataType(DataType.F32).build()).isEmpty());
    assertTrue(MobaHopperTiles.of(spec().headDim(80).build()).isEmpty());
    assertTrue(MobaHopperTiles.of(spec().valueDim(64).build()).isEmpty());
    assertTrue(MobaHopperTiles.of(spec().blockSize(192).build()).isEmpty());
    assertTrue(MobaHopperTiles.of(spec().scale(-1).build()).isEmpty());
    assertTrue(MobaHopperTiles.of(spec().scale(0).build()).isEmpty());
  }
}
