package dev.weft.spi;

/**
 * Weights as a kernel reads them: the caller's tensors where their layout allows, else a packed
 * copy. Immutable but for {@link #refresh}; shared by threads.
 */
public interface BackendBinding extends AutoCloseable {
  /**
   * Returns the size of the packed copy.
   *
   * @return device bytes beyond the caller's tensors; 0 where none were copied
   */
  default long extraBytes() {
    return 0;
  }

  /**
   * Enqueues what must be redone after the caller overwrote the weights. Also called once by the
   * api directly after binding.
   *
   * @param stream the stream that orders it
   */
  default void refresh(BackendStream stream) {}

  /** Releases the binding; no launch that uses it is in flight. */
  @Override
  default void close() {}
}
