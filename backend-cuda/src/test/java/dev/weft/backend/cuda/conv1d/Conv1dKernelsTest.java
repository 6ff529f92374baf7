package dev.weft.backend.cuda.conv1d;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.backend.cuda.kernels.KernelManifest;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What nvcc made of the kernels, against what Java asks for. Needs no GPU. */
class Conv1dKernelsTest {
  private final KernelManifest manifest = KernelManifest.read();

  @BeforeEach
  void needsKernels() {
    Assumptions.assumeFalse(
        manifest.isEmpty(), "built without nvcc: there are no kernels to look at");
  }

  @Test
  void everyKernelNamedInJavaIsBuiltAndNoOther() {
    Set<String> named = new TreeSet<>(Set.of(Conv1dVariant.PACK, Conv1dVariant.REDUCE));
    Conv1dVariant.all().forEach(variant -> named.add(variant.kernel()));
    Set<String> built = new TreeSet<>();
    manifest.kernels().values().stream()
        .filter(kernel -> kernel.module().equals("conv1d"))
        .forEach(kernel -> built.add(kernel.name()));
    assertEquals(named, built);
  }

  @Test
  void argumentStructuresHaveTheSizesThatJavaWrites() {
    Map<String, Integer> sizes = new TreeMap<>();
    Map<String, Integer> built = new TreeMap<>();
    manifest.kernels().values().stream()
        .filter(kernel -> kernel.module().equals("conv1d"))
        .forEach(kernel -> built.put(kernel.name(), kernel.parameterBytes()));
    Conv1dVariant.all()
        .forEach(variant ->
            sizes.put(
                variant.kernel(),
                switch (variant.mode()) {
                  case FORWARD -> 224;
                  case UPDATE -> 192;
                  case BACKWARD -> 264;
                }));
    sizes.put(Conv1dVariant.PACK, 56);
    sizes.put(Conv1dVariant.REDUCE, 64);
    assertEquals(sizes, built);
  }

  @Test
  void noKernelSpills() {
    assertFalse(resources().isEmpty());
    for (KernelManifest.Resources r : resources()) {
      assertTrue(r.spillStores() == 0 && r.spillLoads() == 0, r.toString());
    }
  }

  @Test
  void vectorVariantsLeaveRoomForTheBlocksThatThePlansCountOn() {
    for (KernelManifest.Resources r : resources()) {
      int most = r.name().startsWith("conv1d_backward") ? 168 : 128;
      assertTrue(r.registers() <= most, r.toString());
    }
  }

  private List<KernelManifest.Resources> resources() {
    return manifest.resources().stream().filter(r -> r.name().startsWith("conv1d_")).toList();
  }

  @Test
  void thereIsPtxBesideMachineCode() {
    assertTrue(manifest.architectures("conv1d").contains("ptx"));
  }
}
