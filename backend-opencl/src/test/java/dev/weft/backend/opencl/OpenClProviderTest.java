package dev.weft.backend.opencl;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.gpu.fixtures.GpuProviderContract;
import dev.weft.gpu.fixtures.PresentDevice;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class OpenClProviderTest extends GpuProviderContract {
  OpenClProviderTest() {
    super(new OpenClProvider(), "opencl", 100);
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
}
