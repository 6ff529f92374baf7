package com.example.weft;

import dev.weft.DeviceOutOfMemoryException;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * Native memory, for any thread.
 *
 * @param segment all of it
 * @param arena what frees it; null where it is somebody else's
 */
record ExampleMemory(MemorySegment segment, @Nullable Arena arena)
    implements BackendMemory, BackendHostMemory {
  private static final long ALIGNMENT = 64;

  static ExampleMemory allocate(String what, long bytes) {
    Arena arena = Arena.ofShared();
    try {
      return new ExampleMemory(arena.allocate(bytes, ALIGNMENT), arena);
    } catch (OutOfMemoryError e) {
      arena.close();
      throw new DeviceOutOfMemoryException(what, bytes, -1, Runtime.getRuntime().maxMemory());
    }
  }

  static MemorySegment segmentOf(BackendMemory memory) {
    return ((ExampleMemory) memory).segment;
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
