package dev.weft.backend.vulkan.device;

import dev.weft.spi.BackendMemory;

/** A range of a buffer. */
final class VulkanMemory implements BackendMemory {
  private final long buffer;
  private final long offset;
  private final long address;
  private final long bytes;
  private final Runnable release;

  VulkanMemory(long buffer, long offset, long address, long bytes, Runnable release) {
    this.buffer = buffer;
    this.offset = offset;
    this.address = address;
    this.bytes = bytes;
    this.release = release;
  }

  /** A VkBuffer. */
  long buffer() {
    return buffer;
  }

  /** Where the range starts in the buffer. */
  long offset() {
    return offset;
  }

  /** Where shaders find the range. */
  long address() {
    return address;
  }

  @Override
  public long bytes() {
    return bytes;
  }

  @Override
  public int misalignment() {
    return (int) (address & 255);
  }

  @Override
  public void close() {
    release.run();
  }
}
