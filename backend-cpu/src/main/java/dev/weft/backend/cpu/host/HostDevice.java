package dev.weft.backend.cpu.host;

import dev.weft.spi.BackendDevice;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import dev.weft.spi.DeviceDescriptor;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/** What devices that are the host have in common: all but the operations. */
public abstract class HostDevice implements BackendDevice {
  private final DeviceDescriptor descriptor;
  private final WorkPool pool;

  /**
   * For subclasses.
   *
   * @param descriptor what the provider's probe said
   * @param pool the threads of its streams' copies and fills
   */
  protected HostDevice(DeviceDescriptor descriptor, WorkPool pool) {
    this.descriptor = descriptor;
    this.pool = pool;
  }

  @Override
  public final DeviceDescriptor descriptor() {
    return descriptor;
  }

  @Override
  public final BackendMemory allocate(long bytes) {
    return HostMemory.allocate("device memory", bytes);
  }

  @Override
  public final BackendHostMemory allocateHost(long bytes) {
    return HostMemory.allocate("host memory", bytes);
  }

  @Override
  public final Optional<BackendMemory> wrap(MemorySegment segment) {
    // Streams and pools work on their own threads, so memory confined to one cannot be aliased.
    return segment.isNative() && !segment.isReadOnly() && HostStream.canAccess(segment)
        ? Optional.of(HostMemory.wrap(segment))
        : Optional.empty();
  }

  @Override
  public final BackendStream newStream() {
    return new HostStream(pool);
  }

  @Override
  public final long freeBytes() {
    return HostMachine.freeBytes();
  }

  @Override
  public void close() {}
}
