package dev.weft.backend.vulkan.device;

import dev.weft.DeviceOutOfMemoryException;
import dev.weft.spi.BackendHostMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Host memory that is a buffer of the device, mapped as long as it lives. Its segment ends with it:
 * a thread that uses it later, or after the device was closed, gets an exception.
 */
final class VulkanHostMemory implements BackendHostMemory {
  private final VulkanContext context;
  private final DeviceBuffer buffer;
  private final Arena arena = Arena.ofShared();
  private final MemorySegment segment;

  @SuppressWarnings("restricted") // the arena ends before the buffer does
  VulkanHostMemory(VulkanContext context, long bytes) {
    DeviceBuffer made = context.createBuffer(bytes, VulkanContext.Place.HOST);
    if (made == null) {
      throw new DeviceOutOfMemoryException("pinned host memory", bytes, -1, bytes);
    }
    this.context = context;
    buffer = made;
    segment = made.host(0, bytes).reinterpret(arena, null);
    context.pin(this);
  }

  DeviceBuffer buffer() {
    return buffer;
  }

  /** Ends the segment; says no if a thread is at work with it right now. */
  boolean endSegment() {
    try {
      if (arena.scope().isAlive()) {
        arena.close();
      }
      return true;
    } catch (IllegalStateException e) {
      return false;
    }
  }

  @Override
  public MemorySegment segment() {
    return segment;
  }

  @Override
  public void close() {
    try (var use = context.use().tryBegin()) {
      if (use != null && arena.scope().isAlive()) { // else the device's end takes it along, or has
        arena.close();
        context.unpin(this);
        context.destroy(buffer);
      }
    }
  }
}
