package dev.weft.interop;

import dev.weft.spi.BackendMemory;

/** Sharing with Vulkan code. */
public interface VulkanInterop {
  /**
   * Wraps a buffer, for {@link dev.weft.Device#wrap(BackendMemory, dev.weft.DataType, long...)}.
   *
   * @param buffer a VkBuffer of this device, with storage and device-address usage
   * @param offset where to start, in bytes
   * @param bytes how many bytes from there on may be used
   * @return memory that destroys nothing when closed
   */
  BackendMemory wrapMemory(long buffer, long offset, long bytes);

  /**
   * Returns a memory's buffer.
   *
   * @param memory memory of this device
   * @return a VkBuffer
   */
  long buffer(BackendMemory memory);

  /**
   * Returns where a memory starts in its buffer; add a tensor's {@code byteOffset()}.
   *
   * @param memory memory of this device
   * @return bytes
   */
  long bufferOffset(BackendMemory memory);

  /**
   * Returns the device in use.
   *
   * @return a VkDevice
   */
  long device();

  /**
   * Returns the queue in use.
   *
   * @return a VkQueue
   */
  long queue();

  /**
   * Returns the family of the queue in use.
   *
   * @return its index
   */
  int queueFamily();
}
