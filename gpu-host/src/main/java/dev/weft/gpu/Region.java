package dev.weft.gpu;

import dev.weft.Tensor;
import dev.weft.spi.BackendMemory;
import org.jspecify.annotations.Nullable;

/**
 * A place in device memory.
 *
 * @param memory the memory
 * @param offset bytes from its start
 */
public record Region(BackendMemory memory, long offset) {
  /** A tensor's first element. */
  public static Region of(Tensor tensor) {
    return new Region(tensor.memory(), tensor.byteOffset());
  }

  /** A tensor's first element, or nothing for no tensor. */
  public static @Nullable Region ofNullable(@Nullable Tensor tensor) {
    return tensor == null ? null : of(tensor);
  }

  /**
   * Whether the place is a multiple of a number of bytes on the device, wherever its memory starts.
   *
   * @param bytes a power of two, at most 256
   */
  public boolean isAligned(int bytes) {
    return (memory.misalignment() + offset) % bytes == 0;
  }

  /** The place some bytes further on. */
  public Region plus(long bytes) {
    return new Region(memory, offset + bytes);
  }
}
