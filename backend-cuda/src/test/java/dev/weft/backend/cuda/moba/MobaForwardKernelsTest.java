package dev.weft.backend.cuda.moba;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.backend.cuda.kernels.KernelManifest;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What nvcc made of forward's and append's kernels, against what Java asks for. Needs no GPU. */
class MobaForwardKernelsTest {
  /** Bytes that some architecture spills, of the types of 16 bits unless said. */
  private static final Map<String, Integer> SPILLS =
      Map.of(
          "listed_T_d128", 96,
          "listed_T_d256", 32,
          "own_T_d256", 32,
          "select_T_d128_k32", 64,
          "select_T_d256_k32", 128,
          "append_means_T", 16,
          "select_f32_d64_k32", 48,
          "select_f32_d64_kany", 64);

  /** What a block may have of compute capability 8.6 and 8.9, which run the code of 8.0. */
  private static final int SHARED_OF_SMALL_DEVICES = 99 * 1024;

  private static final List<String> TYPES = List.of("bf16", "f16", "f32");

  private final KernelManifest manifest = KernelManifest.read();

  @BeforeEach
  void needsKernels() {
    Assumptions.assumeFalse(
        manifest.isEmpty(), "built without nvcc: there are no kernels to look at");
  }

  private static Map<String, Integer> named() {
    Map<String, Integer> sizes = new TreeMap<>();
    MobaTiles.kernels().forEach(name -> sizes.put(name, 384));
    for (String type : TYPES) {
      sizes.put("moba_means_" + type, 88);
      sizes.put("moba_append_means_" + type, 232);
    }
    sizes.put(MobaAppendPass.ROWS, 232);
    sizes.put(MobaForwardPass.PAGED_BLOCKS, 96);
    sizes.put(MobaLists.BLOCKS, 48);
    return sizes;
  }

  @Test
  void everyKernelNamedInJavaIsBuiltWithTheArgumentSizeThatJavaWrites() {
    Map<String, Integer> built = new TreeMap<>();
    named()
        .keySet()
        .forEach(name -> {
          KernelManifest.Kernel kernel = manifest.kernels().get(name);
          built.put(name, kernel == null ? -1 : kernel.parameterBytes());
        });
    assertEquals(named(), built);
  }

  @Test
  void noKernelSpillsBeyondAListedFew() {
    List<KernelManifest.Resources> all =
        manifest.resources().stream().filter(r -> named().containsKey(r.name())).toList();
    assertFalse(all.isEmpty());
    for (KernelManifest.Resources r : all) {
      String name = r.name().replace("moba_", "");
      String either = name.replace("_bf16", "_T").replace("_f16", "_T");
      int most = SPILLS.getOrDefault(name, SPILLS.getOrDefault(either, 0));
      assertTrue(r.spillStores() <= most && r.spillLoads() <= most, r.toString());
    }
  }

  @Test
  void sharedMemoryFitsEveryDevice() {
    for (DataType type : List.of(DataType.BF16, DataType.F16, DataType.F32)) {
      for (int width : new int[] {64, 128, MobaTiles.MOST_WIDTH}) {
        MobaTiles tiles = new MobaTiles(type, width);
        assertTrue(tiles.listedSharedBytes() <= SHARED_OF_SMALL_DEVICES, tiles.listed());
        assertTrue(tiles.ownSharedBytes() <= SHARED_OF_SMALL_DEVICES, tiles.own());
        for (int most : new int[] {8, 32, MobaTiles.ANY}) {
          int bytes = tiles.selectSharedBytes(most);
          assertTrue(bytes <= SHARED_OF_SMALL_DEVICES, tiles.select(most) + ": " + bytes);
        }
      }
    }
  }
}
