package dev.weft.backend.vulkan.device;

import dev.weft.interop.VulkanInterop;
import dev.weft.spi.BackendMemory;

/** Sharing memory with other Vulkan code of the process. */
record Interop(VulkanContext context) implements VulkanInterop {
  @Override
  public BackendMemory wrapMemory(long buffer, long offset, long bytes) {
    if (buffer == 0 || offset < 0 || bytes < 0) {
      throw new IllegalArgumentException(
          "wrapMemory: " + bytes + " bytes from " + offset + " of buffer " + buffer);
    }
    try (var _ = context.use().begin()) {
      return new VulkanMemory(buffer, offset, context.address(buffer) + offset, bytes, () -> {});
    }
  }

  @Override
  public long buffer(BackendMemory memory) {
    return ((VulkanMemory) memory).buffer();
  }

  @Override
  public long bufferOffset(BackendMemory memory) {
    return ((VulkanMemory) memory).offset();
  }

  @Override
  public long device() {
    return context.device().address();
  }

  @Override
  public long queue() {
    return context.queue(0).address();
  }

  @Override
  public int queueFamily() {
    return context.properties().queue().index();
  }
}
