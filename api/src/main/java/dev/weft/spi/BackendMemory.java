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

  /** Frees the memory, at once: called when no launch uses it any more. */
  @Override
  void close();
}
