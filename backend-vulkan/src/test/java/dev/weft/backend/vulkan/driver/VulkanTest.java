package dev.weft.backend.vulkan.driver;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DeviceException;
import dev.weft.DeviceLostException;
import dev.weft.DeviceOutOfMemoryException;
import dev.weft.gpu.NotUsableException;
import org.junit.jupiter.api.Test;

class VulkanTest {
  @Test
  void aMissingLoaderIsNamedWithARemedy() {
    NotUsableException e =
        assertThrows(NotUsableException.class, () -> Vulkan.open("libNoSuchVulkan.so.1", false));
    assertTrue(String.valueOf(e.getMessage()).contains("libNoSuchVulkan.so.1"), e.getMessage());
    assertTrue(e.remedy().contains("libvulkan1"), e.remedy());
  }

  @Test
  void codesBecomeExceptions() {
    Result.check("vkQueueSubmit", Result.SUCCESS);
    assertThrows(
        DeviceLostException.class, () -> Result.check("vkQueueSubmit", Result.DEVICE_LOST));
    DeviceException e =
        assertInstanceOf(DeviceException.class, Result.failure("vkCreateDevice", -3));
    assertEquals("vkCreateDevice failed with VK_ERROR_INITIALIZATION_FAILED (-3)", e.getMessage());
    assertEquals(-3, e.code());
    DeviceOutOfMemoryException full =
        assertInstanceOf(
            DeviceOutOfMemoryException.class, Result.failure("vkCreateComputePipelines", -2));
    assertTrue(
        String.valueOf(full.getMessage())
            .startsWith("vkCreateComputePipelines failed with VK_ERROR_OUT_OF_DEVICE_MEMORY (-2)"),
        full.getMessage());
    assertEquals(-1, full.needed());
  }

  @Test
  void complaintsOfTheValidationLayerAreThrownOnce() {
    ValidationMessages messages = new ValidationMessages();
    messages.check();
    messages.add("one");
    messages.add("two");
    DeviceException e = assertThrows(DeviceException.class, messages::check);
    assertTrue(String.valueOf(e.getMessage()).contains("one\n  two"), e.getMessage());
    messages.check();
  }
}
