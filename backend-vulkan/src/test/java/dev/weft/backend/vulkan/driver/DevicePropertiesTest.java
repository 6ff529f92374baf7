package dev.weft.backend.vulkan.driver;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.backend.vulkan.VulkanProvider;
import dev.weft.backend.vulkan.driver.DeviceProperties.QueueFamily;
import dev.weft.gpu.fixtures.PresentDevice;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.lwjgl.vulkan.VK10;
import org.lwjgl.vulkan.VK11;

/** What is said of devices that cannot be used, made of one that can. */
class DevicePropertiesTest {
  @Test
  void whatADeviceLacksIsNamed() throws Exception {
    PresentDevice.required(new VulkanProvider());
    try (Vulkan vulkan = Vulkan.open()) {
      DeviceProperties device = vulkan.devices().getFirst();
      assertEquals("", device.whyNotUsable());
      assertEquals(
          "it lacks shaderInt64, bufferDeviceAddress",
          changed(
                  device,
                  device.apiVersion(),
                  List.of("shaderInt64", "bufferDeviceAddress"),
                  device.queue())
              .whyNotUsable());
      assertEquals(
          "it has Vulkan 1.1.0, and 1.2 is needed",
          changed(device, VK11.VK_API_VERSION_1_1, List.of(), device.queue()).whyNotUsable());
      assertEquals(
          "it has Vulkan 1.0.0, and 1.2 is needed",
          changed(device, VK10.VK_API_VERSION_1_0, List.of(), device.queue()).whyNotUsable());
      assertEquals(
          "it has no queue that computes and tells time",
          changed(device, device.apiVersion(), List.of(), new QueueFamily(-1, 0, 0))
              .whyNotUsable());
    }
  }

  private static DeviceProperties changed(
      DeviceProperties d, int apiVersion, List<String> missing, QueueFamily queue) {
    return new DeviceProperties(
        d.handle(),
        d.kind(),
        d.name(),
        d.vendorId(),
        d.deviceId(),
        apiVersion,
        d.driver(),
        d.cacheUuid(),
        d.extensions(),
        missing,
        queue,
        d.memoryBytes(),
        d.mostAllocationBytes(),
        d.limits(),
        d.missingMatrices());
  }
}
