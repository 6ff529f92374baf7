package dev.weft;

import dev.weft.spi.BackendHostMemory;
import java.lang.foreign.MemorySegment;

/**
 * Host memory that a device transfers at full speed. Close it only when no transfer uses it any
 * more.
 */
public final class HostBuffer implements AutoCloseable {
  private final MemorySegment segment;
  private final Lifetime lifetime;

  HostBuffer(Device device, BackendHostMemory memory, long bytes) {
    this.lifetime = device.lifetime("host buffer of " + bytes + " bytes", memory::close);
    this.segment =
        device.guard("BackendHostMemory.segment", () -> memory.segment().asSlice(0, bytes));
  }

  /**
   * Returns the memory.
   *
   * @return a native segment of the size asked for
   */
  public MemorySegment segment() {
    lifetime.checkOpen();
    return segment;
  }

  /** Frees the memory. Twice is harmless. */
  @Override
  public void close() {
    lifetime.close();
  }
}
