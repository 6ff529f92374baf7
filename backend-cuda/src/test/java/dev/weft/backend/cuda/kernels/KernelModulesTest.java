package dev.weft.backend.cuda.kernels;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.BackendUnavailableException;
import dev.weft.backend.cuda.CudaProvider;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.spi.BackendDevice;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.function.Function;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

/** Which image a device gets. */
class KernelModulesTest {
  private static final String ANYWHERE = "conv1d_pack";
  private static final String HOPPER_ONLY = "moe_hopper_sort_rows";

  private final KernelManifest manifest = KernelManifest.read();

  @Test
  void machineCodeIsPreferredWhereTheDeviceRunsIt() {
    assertEquals(List.of("sm_80", "ptx"), KernelModules.preference(8, 0, false));
    assertEquals(List.of("sm_80", "ptx"), KernelModules.preference(8, 9, false));
    assertEquals(List.of("sm_90a", "ptx"), KernelModules.preference(9, 0, false));
    assertEquals(List.of("sm_100", "ptx"), KernelModules.preference(10, 0, false));
    assertEquals(List.of("ptx"), KernelModules.preference(12, 0, false));
    assertEquals(List.of("ptx"), KernelModules.preference(9, 0, true));
  }

  @Test
  void aKernelThatWasNotBuiltIsNotFound() {
    KernelModules modules = new KernelModules(manifest, 9, 0, false);
    assertTrue(modules.find("no_such_kernel").isEmpty());
    assertThrows(IllegalStateException.class, () -> modules.kernel("no_such_kernel"));
  }

  /** Zeros are an image of nothing. */
  @Test
  void machineCodeThatTheDriverRefusesIsPassedOverForPtx() {
    onTheDevice(capability -> fallsBack(capability, new byte[4096]));
  }

  /** As if the jar's code were for a chip that this one is not. */
  @Test
  void machineCodeOfAnotherArchitectureIsPassedOverForPtx() {
    onTheDevice(capability -> {
      String other = capability.startsWith("8") ? "sm_90a" : "sm_80";
      Assumptions.assumeTrue(
          manifest.architectures("conv1d").contains(other), "built without " + other);
      fallsBack(capability, resource("conv1d." + other + ".cubin"));
    });
  }

  /** As if the driver were older than the PTX. */
  @Test
  void aDeviceThatNoImageFitsIsToldWhatWasTried() {
    onTheDevice(capability -> {
      KernelModules modules =
          modules(
              capability,
              name -> name.endsWith(".cubin") ? new byte[4096] : ofALaterVersion(resource(name)));
      BackendUnavailableException e =
          assertThrows(BackendUnavailableException.class, () -> modules.kernel(ANYWHERE));
      String message = String.valueOf(e.getMessage());
      assertTrue(message.contains("conv1d") && message.contains("ptx: CUDA_ERROR"), message);
    });
  }

  private static byte[] ofALaterVersion(byte[] ptx) {
    return new String(ptx, StandardCharsets.US_ASCII)
        .replaceFirst("(?m)^\\.version .*$", ".version 99.0")
        .getBytes(StandardCharsets.US_ASCII);
  }

  private void fallsBack(String capability, byte[] code) {
    KernelModules modules =
        modules(capability, name -> name.endsWith(".cubin") ? code : resource(name));
    assertEquals(ANYWHERE, modules.kernel(ANYWHERE).toString());
    assertEquals("ptx", modules.architecture("conv1d"));
    assertTrue(modules.find("conv1d_reduce").isPresent(), "the next kernel of the module");
    assertTrue(modules.find(HOPPER_ONLY).isEmpty(), "it has no PTX");
    modules.close();
  }

  private static byte[] resource(String name) {
    return Objects.requireNonNull(KernelManifest.resource(name), name);
  }

  private static KernelModules modules(String capability, Function<String, byte[]> images) {
    KernelManifest changed =
        KernelManifest.of(name -> name.equals("kernels.txt") ? resource(name) : images.apply(name));
    String[] digits = capability.split("\\.", -1);
    return new KernelModules(
        changed, Integer.parseInt(digits[0]), Integer.parseInt(digits[1]), false);
  }

  /** With the device's context bound, and its compute capability. */
  private static void onTheDevice(Consumer<String> body) {
    CudaProvider provider = new CudaProvider();
    PresentDevice.assumed(provider);
    try (BackendDevice device = PresentDevice.open(provider)) {
      body.accept(Objects.requireNonNull(device.descriptor().features().get("compute capability")));
    }
  }
}
