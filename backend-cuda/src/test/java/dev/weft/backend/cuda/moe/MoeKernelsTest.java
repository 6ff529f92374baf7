package dev.weft.backend.cuda.moe;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.backend.cuda.kernels.KernelManifest;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What nvcc made of the forward kernels, against what Java asks for. Needs no GPU. */
class MoeKernelsTest {
  private static final Set<String> MODULES =
      Set.of("moe_experts", "moe_routing", "moe_sort", "moe_combine");

  /** Bytes that some architecture spills; routing does so on sm_100 alone. */
  private static final Map<String, Integer> SPILLS =
      Map.of(
          "moe_project_bf16_m128", 48,
          "moe_project_f16_m128", 48,
          "moe_down_bf16_m128", 32,
          "moe_down_f16_m128", 32,
          "moe_route", 16,
          "moe_logits_few", 16);

  private final KernelManifest manifest = KernelManifest.read();

  @BeforeEach
  void needsKernels() {
    Assumptions.assumeFalse(
        manifest.isEmpty(), "built without nvcc: there are no kernels to look at");
  }

  private static Map<String, Integer> named() {
    Map<String, Integer> sizes = new TreeMap<>();
    List<GenericExperts.Tile> tiles =
        new ArrayList<>(GenericExperts.Tile.ofMatrixUnits(DataType.BF16));
    tiles.addAll(GenericExperts.Tile.ofMatrixUnits(DataType.F16));
    tiles.add(GenericExperts.Tile.ofAnyTypes());
    for (GenericExperts.Tile tile : tiles) {
      sizes.put(tile.project(), 240);
      sizes.put(tile.down(), 152);
    }
    for (String logits :
        Set.of(
            RoutingPass.LOGITS_FEW,
            RoutingPass.LOGITS_ANY,
            RoutingPass.LOGITS_BF16,
            RoutingPass.LOGITS_F16)) {
      sizes.put(logits, 88);
    }
    sizes.put(RoutingPass.ROUTE, 184);
    sizes.put(RoutingPass.COPY, 80);
    for (String sort : Set.of(SlotSort.ONE_BLOCK, SlotSort.COUNT, SlotSort.SCAN, SlotSort.PLACE)) {
      sizes.put(sort, 136);
    }
    for (DataType type : new DataType[] {DataType.F32, DataType.F16, DataType.BF16}) {
      sizes.put(Combination.kernel(type), 120);
    }
    return sizes;
  }

  @Test
  void everyKernelNamedInJavaIsBuiltWithTheSizeThatJavaWritesAndNoOther() {
    Map<String, Integer> built = new TreeMap<>();
    manifest.kernels().values().stream()
        .filter(kernel -> MODULES.contains(kernel.module()))
        .forEach(kernel -> built.put(kernel.name(), kernel.parameterBytes()));
    assertEquals(named(), built);
  }

  @Test
  void noKernelSpillsBeyondAListedFew() {
    Set<String> seen = new TreeSet<>();
    for (KernelManifest.Resources r : manifest.resources()) {
      if (named().containsKey(r.name())) {
        int most = SPILLS.getOrDefault(r.name(), 0);
        assertTrue(r.spillStores() <= most && r.spillLoads() <= most, r.toString());
        seen.add(r.name());
      }
    }
    assertFalse(seen.isEmpty());
  }

  @Test
  void thereIsPtxBesideMachineCode() {
    for (String module : MODULES) {
      assertTrue(manifest.architectures(module).contains("ptx"), module);
    }
  }

  /** On compute capability 8.6 and 8.9, which run the code of 8.0, a block has 99 KiB at most. */
  @Test
  void sharedMemoryFitsEveryDevice() {
    List<GenericExperts.Tile> tiles =
        new ArrayList<>(GenericExperts.Tile.ofMatrixUnits(DataType.BF16));
    tiles.addAll(GenericExperts.Tile.ofMatrixUnits(DataType.F16));
    Map<String, Integer> dynamic = new TreeMap<>();
    for (GenericExperts.Tile tile : tiles) {
      dynamic.put(tile.project(), tile.sharedBytes());
      dynamic.put(tile.down(), tile.sharedBytes());
    }
    for (KernelManifest.Resources r : manifest.resources()) {
      int bytes = r.sharedBytes() + dynamic.getOrDefault(r.name(), 0);
      if (named().containsKey(r.name())) {
        assertTrue(bytes <= 99 * 1024, r.name() + ": " + bytes);
      }
    }
  }
}
