package dev.weft.backend.opencl.driver;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DeviceException;
import dev.weft.DeviceLostException;
import dev.weft.gpu.NotUsableException;
import org.jocl.cl_device_id;
import org.jocl.cl_platform_id;
import org.junit.jupiter.api.Test;

class OpenClTest {
  @Test
  void aMissingLoaderIsNamedWithARemedy() {
    NotUsableException e =
        assertThrows(NotUsableException.class, () -> OpenCl.load("libNoSuchOpenCL.so.1"));
    assertTrue(String.valueOf(e.getMessage()).contains("libNoSuchOpenCL.so.1"), e.getMessage());
    assertTrue(e.remedy().contains("ocl-icd-libopencl1"), e.remedy());
  }

  @Test
  void aFaultThatShowsInAWaitMayLoseTheDevice() {
    assertThrows(DeviceLostException.class, () -> Status.checkWait("clFinish", -5));
    assertThrows(DeviceLostException.class, () -> Status.checkWait("clFinish", -2));
    assertThrows(DeviceException.class, () -> Status.checkWait("clFinish", -12));
    Status.checkWait("clFinish", 0);
    DeviceException e = assertInstanceOf(DeviceException.class, Status.failure("clFlush", -5));
    assertEquals("clFlush failed with CL_OUT_OF_RESOURCES (-5)", e.getMessage());
    assertEquals(-5, e.code());
  }

  @Test
  void whatADeviceLacksIsSaid() {
    assertEquals("", device("OpenCL 1.2 CUDA", true, 64, true).whyNotUsable());
    assertEquals("", device("OpenCL 3.0 PoCL", true, 64, true).whyNotUsable());
    assertTrue(device("OpenCL 1.1 old", true, 64, true).whyNotUsable().contains("1.2 is needed"));
    assertTrue(device("GL 4", true, 64, true).whyNotUsable().contains("GL 4"));
    assertTrue(device("OpenCL 1.2 x", false, 64, true).whyNotUsable().contains("no compiler"));
    assertTrue(device("OpenCL 1.2 x", true, 32, true).whyNotUsable().contains("32 bits"));
    assertFalse(device("OpenCL 1.2 x", true, 64, false).whyNotUsable().isEmpty());
  }

  private static DeviceProperties device(
      String version, boolean compiler, int addressBits, boolean littleEndian) {
    return new DeviceProperties(
        new cl_platform_id(),
        new cl_device_id(),
        DeviceProperties.Kind.GPU,
        "any",
        "any",
        version,
        "1",
        "any 1",
        "",
        1,
        1 << 30,
        1 << 28,
        32768,
        256,
        32,
        addressBits,
        true,
        compiler,
        littleEndian);
  }
}
