package dev.weft.backend.vulkan.device;

import static org.lwjgl.system.MemoryUtil.NULL;

import java.lang.foreign.MemorySegment;

/**
 * A buffer and its memory.
 *
 * @param handle the VkBuffer
 * @param allocation the VmaAllocation
 * @param address where shaders find it
 * @param bytes its size
 * @param mapped where the host finds it, or 0
 */
record DeviceBuffer(long handle, long allocation, long address, long bytes, long mapped) {
  /** Some of its bytes, as the host sees them. */
  @SuppressWarnings("restricted") // mapped as long as it lives
  MemorySegment host(long offset, long count) {
    if (mapped == NULL || offset < 0 || count > bytes - offset) {
      throw new IllegalArgumentException(count + " bytes from " + offset + " of " + this);
    }
    return MemorySegment.ofAddress(mapped + offset).reinterpret(count);
  }
}
