package dev.weft.fake;

import dev.weft.spi.BackendMemory;
import java.lang.foreign.MemorySegment;

/** Device memory: an array. */
public final class FakeMemory implements BackendMemory {
  private final FakeDevice device;
  private final MemorySegment segment;
  private final long allocated;
  private final int misalignment;

  FakeMemory(FakeDevice device, MemorySegment segment, long allocated) {
    this(device, segment, allocated, 0);
  }

  FakeMemory(FakeDevice device, MemorySegment segment, long allocated, int misalignment) {
    this.device = device;
    this.segment = segment;
    this.allocated = allocated;
    this.misalignment = misalignment;
  }

  /** The bytes, for work that runs now. */
  MemorySegment touch(String work) {
    if (!device.isAlive(this)) {
      device.violation(work + " touches freed " + this);
    }
    return segment;
  }

  @Override
  public long bytes() {
    return segment.byteSize();
  }

  @Override
  public int misalignment() {
    return misalignment;
  }

  @Override
  public void close() {
    device.enter("memory close");
    device.closed(this);
    device.free(allocated);
  }

  @Override
  public String toString() {
    return "memory " + segment.byteSize();
  }
}
