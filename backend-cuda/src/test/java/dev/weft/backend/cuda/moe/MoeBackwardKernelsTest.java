package dev.weft.backend.cuda.moe;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.backend.cuda.kernels.KernelManifest;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What nvcc made of the backward kernels, against what Java asks for. Needs no GPU. */
class MoeBackwardKernelsTest {
  /** The sizes of the argument structures that MoeBackwardPass writes. */
  private static final Map<String, Integer> ARGUMENTS =
      Map.ofEntries(
          Map.entry("project", 240),
          Map.entry("slots", 296),
          Map.entry("inputs", 184),
          Map.entry("down_gradient", 200),
          Map.entry("projection_gradient", 192),
          Map.entry("rows", 136),
          Map.entry("shared_rows", 120),
          Map.entry("tiles", 56),
          Map.entry("column_sums", 152),
          Map.entry("tokens", 336),
          Map.entry("dx", 224),
          Map.entry("router_weights", 112),
          Map.entry("router_sums", 88));

  /** Bytes that some architecture spills, by the registers that two blocks leave it. */
  private static final Map<String, Integer> SPILLS =
      Map.of(
          "moe_backward_down_gradient_f16", 24,
          "moe_backward_projection_gradient_bf16", 16,
          "moe_backward_projection_gradient_f16", 16);

  private final KernelManifest manifest = KernelManifest.read();

  @BeforeEach
  void needsKernels() {
    Assumptions.assumeFalse(
        manifest.isEmpty(), "built without nvcc: there are no kernels to look at");
  }

  private static String stage(String kernel) {
    String name = kernel.substring(MoeBackwardKernels.PREFIX.length());
    for (MoeBackwardKernels.Tile tile : MoeBackwardKernels.TILES) {
      String end = "_" + tile.suffix();
      if (name.endsWith(end)) {
        return name.substring(0, name.length() - end.length());
      }
    }
    return name;
  }

  @Test
  void everyKernelNamedInJavaIsBuiltAndNoOther() {
    Set<String> built =
        manifest.kernels().keySet().stream()
            .filter(name -> name.startsWith(MoeBackwardKernels.PREFIX))
            .collect(Collectors.toCollection(TreeSet::new));
    boolean hopper =
        !manifest.architectures("moe_backward_bf16_hopper_sm_90a").isEmpty(); // not in every build
    assertEquals(
        MoeBackwardKernels.names()
            .filter(name -> hopper || !name.endsWith("_hopper"))
            .collect(Collectors.toCollection(TreeSet::new)),
        built);
  }

  @Test
  void argumentStructuresHaveTheSizesThatJavaWrites() {
    Map<String, Integer> built = new TreeMap<>();
    manifest.kernels().values().stream()
        .filter(kernel -> kernel.name().startsWith(MoeBackwardKernels.PREFIX))
        .forEach(kernel -> built.put(stage(kernel.name()), kernel.parameterBytes()));
    assertEquals(new TreeMap<>(ARGUMENTS), built);
  }

  @Test
  void noKernelSpillsBeyondAListedFew() {
    List<KernelManifest.Resources> resources =
        manifest.resources().stream()
            .filter(r -> r.name().startsWith(MoeBackwardKernels.PREFIX))
            .toList();
    assertFalse(resources.isEmpty());
    for (KernelManifest.Resources r : resources) {
      int most = SPILLS.getOrDefault(r.name(), 0);
      assertTrue(r.spillStores() <= most && r.spillLoads() <= most, r.toString());
    }
  }

  @Test
  void sharedMemoryFitsTheDevicesThatATileIsFor() {
    for (MoeBackwardKernels.Tile tile : MoeBackwardKernels.TILES) {
      int most = tile.suffix().endsWith("_hopper") ? 227 * 1024 : 99 * 1024; // 99: of 8.6 and 8.9
      assertTrue(tile.sharedBytes() <= most, tile.toString());
    }
  }
}
