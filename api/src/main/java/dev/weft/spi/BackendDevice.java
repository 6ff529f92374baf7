package dev.weft.spi;

import dev.weft.OperationSpec;
import dev.weft.Support;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/** An open device. Used by many threads at once; closed by the api after all that it made. */
public interface BackendDevice extends AutoCloseable {
  /**
   * Describes the device, including what only became known when it was opened.
   *
   * @return the descriptor
   */
  DeviceDescriptor descriptor();

  /**
   * Says whether {@link #prepare} and every launch will work, whatever the strides, alignments and
   * sizes. Pure and fast: compiles nothing.
   *
   * @param spec any spec; a class that this backend does not know is a no
   * @return yes, or no with a reason
   */
  Support supports(OperationSpec<?> spec);

  /**
   * Compiles every variant that a launch of the spec may need. Called only for supported specs.
   *
   * @param spec a spec for which {@link #supports} says yes
   * @return a kernel of the SPI type that the spec's operation asks for, such as {@link
   *     MobaKernel}; immutable, shared by threads, owner of no scratch memory
   */
  BackendKernel prepare(OperationSpec<?> spec);

  /**
   * Allocates device memory, aligned for every use.
   *
   * @param bytes at least 1
   * @return the memory, with any content
   * @throws dev.weft.DeviceOutOfMemoryException if there is too little
   */
  BackendMemory allocate(long bytes);

  /**
   * Allocates host memory that transfers at full speed.
   *
   * @param bytes at least 1
   * @return the memory
   */
  BackendHostMemory allocateHost(long bytes);

  /**
   * Makes host memory usable by kernels without a copy.
   *
   * @param segment native memory that stays alive until the result is closed
   * @return memory that aliases the segment, or empty if this device cannot
   */
  default Optional<BackendMemory> wrap(MemorySegment segment) {
    return Optional.empty();
  }

  /**
   * Makes an in-order stream, independent of all others.
   *
   * @return a stream
   */
  BackendStream newStream();

  /**
   * Returns what the device itself says of its memory.
   *
   * @return free bytes that {@link #allocate} could use at once, or -1 if unknown
   */
  default long freeBytes() {
    return -1;
  }

  /**
   * Returns memory that the backend holds without using it.
   *
   * @return bytes kept in pools for later allocations
   */
  default long pooledBytes() {
    return 0;
  }

  /** Gives pooled memory back to the system. */
  default void trim() {}

  /**
   * Finds an extension, such as {@link dev.weft.interop.CudaInterop} or {@link Oracle}.
   *
   * @param type the extension's interface
   * @param <T> the extension's interface
   * @return the extension, or empty if this backend has none of that type
   */
  default <T> Optional<T> extension(Class<T> type) {
    return Optional.empty();
  }

  /** Releases the device. All streams have been drained and all objects closed before. */
  @Override
  void close();
}
