package dev.weft.spi;

/**
 * A range of device memory. A backend casts it back to its own class: it only ever gets memory that
 * it made itself.
 */
public interface BackendMemory extends AutoCloseable {
  /**
   * Returns the size.
   *
   * @return bytes
   */
  long bytes();

  /**
   * Says how the memory lies. What {@link BackendDevice#allocate} made is aligned for every use;
   * what an interop interface wrapped may start anywhere, and kernels that read several elements at
   * once must know.
   *
   * @return bytes from a multiple of 256 to its start, 0 to 255; 0 if it is aligned for every use
   */
  default int misalignment() {
    return 0;
  }

  /** Frees the memory, at once: called when no launch uses it any more. */
  @Override
  void close();
}
