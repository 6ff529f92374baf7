package dev.weft.backend.opencl;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.BackendUnavailableException;
import dev.weft.DeviceOptions;
import dev.weft.Weft;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.Probe;
import dev.weft.spi.SpiVersion;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What holds on every machine, with a device or without. */
class OpenClProviderTest {
  private final OpenClProvider provider = new OpenClProvider();

  @Test
  void isFoundAsAService() {
    assertTrue(Weft.discover().toString().contains("opencl"), Weft.discover()::toString);
    assertEquals("opencl", provider.id());
    assertEquals(new SpiVersion(1, 0), provider.spiVersion());
  }

  @Test
  void probeFindsDevicesOrSaysWhatIsMissingAndWhatToDo() {
    for (int i = 0; i < 2; i++) { // the second time says the same
      switch (provider.probe()) {
        case Probe.Available found -> assertFalse(found.devices().isEmpty());
        case Probe.Unavailable none -> {
          assertFalse(none.reason().isBlank());
          assertFalse(none.remedy().isBlank());
        }
      }
    }
  }

  @Test
  void aLoaderWithoutPlatformsIsExplained(@TempDir Path empty)
      throws IOException, InterruptedException {
    PresentDevice.required(provider);
    ChildProcess run =
        ChildProcess.run(":", Map.of("OCL_ICD_VENDORS", empty.toString()), ProbeInAProcess.class);
    assertEquals(0, run.code(), run::output);
    assertTrue(run.output().contains("none: the OpenCL ICD loader finds no platform"), run::output);
    assertTrue(run.output().contains("pocl-opencl-icd"), run::output);
  }

  @Test
  void aPlatformWithoutDevicesIsNamed(@TempDir Path vendors)
      throws IOException, InterruptedException {
    Path pocl = Path.of("/etc/OpenCL/vendors/pocl.icd");
    Assumptions.assumeTrue(Files.exists(pocl), "PoCL, which can be told to have none, is absent");
    Files.copy(pocl, vendors.resolve("pocl.icd"));
    ChildProcess run =
        ChildProcess.run(
            ":",
            Map.of("OCL_ICD_VENDORS", vendors.toString(), "POCL_DEVICES", "none"),
            ProbeInAProcess.class);
    assertEquals(0, run.code(), run::output);
    assertTrue(
        run.output().contains("platform Portable Computing Language has no device"), run::output);
  }

  @Test
  void aDeviceThatIsNotThereCannotBeOpened() {
    DeviceDescriptor last = DeviceDescriptor.builder(999, "any", DeviceDescriptor.Kind.GPU).build();
    BackendUnavailableException e =
        assertThrows(
            BackendUnavailableException.class, () -> provider.open(last, DeviceOptions.defaults()));
    assertTrue(String.valueOf(e.getMessage()).startsWith("opencl: "), e.getMessage());
  }

  @Test
  void refusesPropertiesThatItDoesNotKnow() {
    DeviceDescriptor first = DeviceDescriptor.builder(0, "any", DeviceDescriptor.Kind.GPU).build();
    assertThrows(
        IllegalArgumentException.class,
        () -> provider.open(first, DeviceOptions.builder().property("fast", "yes").build()));
  }

  @Test
  void goesBeforeTheProcessorWithAGpuOnly() {
    DeviceDescriptor gpu = DeviceDescriptor.builder(0, "any", DeviceDescriptor.Kind.GPU).build();
    DeviceDescriptor cpu = DeviceDescriptor.builder(1, "any", DeviceDescriptor.Kind.CPU).build();
    assertEquals(100, provider.priority());
    assertEquals(100, provider.priority(List.of(gpu, cpu)));
    assertEquals(0, provider.priority(List.of(cpu)), "provider cpu has 0, and an earlier id");
  }
}
