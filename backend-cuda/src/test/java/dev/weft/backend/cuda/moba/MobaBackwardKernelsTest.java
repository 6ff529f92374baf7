package dev.weft.backend.cuda.moba;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.backend.cuda.kernels.KernelManifest;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What nvcc made of the backward kernels and the lists, against what Java asks for. */
class MobaBackwardKernelsTest {
  private static final int SHARED_OF_SMALL_DEVICES = 99 * 1024;
  private static final int SHARED_OF_HOPPER = 227 * 1024;

  /** Bytes that some architecture spills. */
  private static final Map<String, Integer> SPILLS =
      Map.of(
          "moba_backward_bf16_keys_128", 32,
          "moba_backward_f16_keys_128", 32,
          "moba_backward_bf16_list_256", 64,
          "moba_backward_f16_list_256", 64,
          "moba_backward_wgmma_bf16_keys_128", 64,
          "moba_backward_wgmma_f16_keys_128", 64);

  private final KernelManifest manifest = KernelManifest.read();

  @BeforeEach
  void needsKernels() {
    Assumptions.assumeFalse(
        manifest.isEmpty(), "built without nvcc: there are no kernels to look at");
  }

  @Test
  void everyKernelNamedInJavaIsBuiltWithTheArgumentsThatJavaWrites() {
    Map<String, Integer> wanted = new TreeMap<>();
    BackwardVariant.all().forEach(variant -> wanted.put(variant.kernel(), 344));
    for (DataType type : List.of(DataType.F32, DataType.F16, DataType.BF16)) {
      wanted.put(BackwardVariant.stats(type), 96);
      if (type != DataType.F32) {
        wanted.put(BackwardVariant.merge(type), 344);
      }
    }
    wanted.put(MobaLists.BLOCKS, 48);
    for (String name : List.of(MobaLists.COUNT, MobaLists.SCAN, MobaLists.SCATTER)) {
      wanted.put(name, 128);
    }
    Map<String, Integer> built = new TreeMap<>();
    manifest.kernels().values().stream()
        .filter(kernel -> isOurs(kernel.name()))
        .forEach(kernel -> built.put(kernel.name(), kernel.parameterBytes()));
    if (!manifest.modules().contains("moba_backward_wgmma_sm_90a")) {
      wanted.keySet().removeIf(name -> name.contains("wgmma")); // a build without sm_90a
    }
    assertEquals(wanted, built);
  }

  private static boolean isOurs(String name) {
    return name.startsWith("moba_backward_")
        || name.startsWith("moba_list_")
        || name.equals(MobaLists.BLOCKS);
  }

  @Test
  void noKernelSpillsBeyondAListedFew() {
    Set<String> spilling = new TreeSet<>();
    for (KernelManifest.Resources r : manifest.resources()) {
      int most = SPILLS.getOrDefault(r.name(), 0);
      if (isOurs(r.name()) && (r.spillStores() > most || r.spillLoads() > most)) {
        spilling.add(r.toString());
      }
    }
    assertEquals(Set.of(), spilling);
  }

  @Test
  void sharedMemoryFitsTheDevicesThatAVariantIsFor() {
    for (BackwardVariant variant : BackwardVariant.all()) {
      int most =
          variant.unit() == BackwardVariant.Unit.WGMMA ? SHARED_OF_HOPPER : SHARED_OF_SMALL_DEVICES;
      assertTrue(variant.sharedBytes() <= most, variant.kernel() + " " + variant.sharedBytes());
    }
  }
}
