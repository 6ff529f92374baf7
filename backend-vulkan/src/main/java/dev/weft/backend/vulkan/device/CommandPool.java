package dev.weft.backend.vulkan.device;

import dev.weft.backend.vulkan.driver.Result;
import java.nio.LongBuffer;
import org.lwjgl.PointerBuffer;
import org.lwjgl.system.MemoryStack;
import org.lwjgl.vulkan.VK10;
import org.lwjgl.vulkan.VkCommandBuffer;
import org.lwjgl.vulkan.VkCommandBufferAllocateInfo;
import org.lwjgl.vulkan.VkCommandPoolCreateInfo;
import org.lwjgl.vulkan.VkDevice;

/** Where command buffers come from; one thread at a time may record any of a pool's. */
final class CommandPool {
  private final VkDevice device;
  private final long handle;

  CommandPool(VulkanContext context) {
    device = context.device();
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkCommandPoolCreateInfo info =
          VkCommandPoolCreateInfo.calloc(stack)
              .sType$Default()
              .flags(VK10.VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT)
              .queueFamilyIndex(context.properties().queue().index());
      LongBuffer made = stack.mallocLong(1);
      Result.check("vkCreateCommandPool", VK10.vkCreateCommandPool(device, info, null, made));
      handle = made.get(0);
    }
  }

  /** Another command buffer, which lives as long as the pool. */
  VkCommandBuffer allocate() {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkCommandBufferAllocateInfo info =
          VkCommandBufferAllocateInfo.calloc(stack)
              .sType$Default()
              .commandPool(handle)
              .level(VK10.VK_COMMAND_BUFFER_LEVEL_PRIMARY)
              .commandBufferCount(1);
      PointerBuffer made = stack.mallocPointer(1);
      Result.check("vkAllocateCommandBuffers", VK10.vkAllocateCommandBuffers(device, info, made));
      return new VkCommandBuffer(made.get(0), device);
    }
  }

  /** Destroys it with its command buffers, none of which is in flight. */
  void close() {
    VK10.vkDestroyCommandPool(device, handle, null);
  }
}
