package dev.weft.spi;

/**
 * A compiled operation. Operations extend this with their launches, each of which enqueues on
 * {@link LaunchContext#stream()} and returns: no wait for the device, no read of device data on the
 * host, no allocation. Immutable and shared by threads.
 */
public interface BackendKernel extends AutoCloseable {
  /** Releases the kernel; no launch of it is in flight. */
  @Override
  default void close() {}
}
