package dev.weft.backend.vulkan.device;

import dev.weft.DeviceOutOfMemoryException;
import dev.weft.spi.BackendHostMemory;
import java.lang.foreign.MemorySegment;

/** Host memory that is a buffer of the device, mapped as long as it lives. */
final class VulkanHostMemory implements BackendHostMemory {
  private final VulkanContext context;
  private final DeviceBuffer buffer;
  private final MemorySegment segment;

  VulkanHostMemory(VulkanContext context, long bytes) {
    DeviceBuffer made = context.createBuffer(bytes, VulkanContext.Place.HOST);
    if (made == null) {
      throw new DeviceOutOfMemoryException("pinned host memory", bytes, -1, bytes);
    }
    this.context = context;
    buffer = made;
    segment = made.host(0, bytes);
    context.pin(made);
  }

  @Override
  public MemorySegment segment() {
    return segment;
  }

  @Override
  public void close() {
    context.unpin(buffer);
    context.destroy(buffer);
  }
}
