package dev.weft.backend.cpu.host;

import dev.weft.DeviceOutOfMemoryException;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/** Native memory of the host, as memory of a device that is the host. Usable from any thread. */
public final class HostMemory implements BackendMemory, BackendHostMemory {
  // A cache line, and the widest vector of any CPU.
  private static final long ALIGNMENT = 64;

  private final MemorySegment segment;
  private final @Nullable Arena arena;

  private HostMemory(MemorySegment segment, @Nullable Arena arena) {
    this.segment = segment;
    this.arena = arena;
  }

  static HostMemory allocate(String what, long bytes) {
    Arena arena = Arena.ofShared();
    try {
      return new HostMemory(arena.allocate(bytes, ALIGNMENT), arena);
    } catch (OutOfMemoryError e) {
      arena.close();
      throw new DeviceOutOfMemoryException(
          what, bytes, HostMachine.freeBytes(), HostMachine.limitBytes());
    }
  }

  /** Aliases memory that stays its owner's. */
  static HostMemory wrap(MemorySegment segment) {
    return new HostMemory(segment, null);
  }

  @Override
  public MemorySegment segment() {
    return segment;
  }

  @Override
  public long bytes() {
    return segment.byteSize();
  }

  @Override
  public void close() {
    if (arena != null) {
      arena.close();
    }
  }
}
