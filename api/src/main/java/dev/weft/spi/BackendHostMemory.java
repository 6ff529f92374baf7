package dev.weft.spi;

import java.lang.foreign.MemorySegment;

/** Host memory that a device transfers at full speed (pinned, where that exists). */
public interface BackendHostMemory extends AutoCloseable {
  /**
   * Returns the memory.
   *
   * @return a native segment, usable from every thread until {@link #close()}
   */
  MemorySegment segment();

  /** Frees the memory, at once: called when no transfer uses it any more. */
  @Override
  void close();
}
