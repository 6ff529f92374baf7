package dev.weft.backend.opencl.device;

import dev.weft.spi.BackendMemory;

/** A range of a buffer. */
final class OpenClMemory implements BackendMemory {
  private final long buffer;
  private final long offset;
  private final long bytes;
  private final int misalignment;
  private final Runnable release;

  OpenClMemory(long buffer, long offset, long bytes, int misalignment, Runnable release) {
    this.buffer = buffer;
    this.offset = offset;
    this.misalignment = misalignment;
    this.bytes = bytes;
    this.release = release;
  }

  /** A cl_mem. */
  long buffer() {
    return buffer;
  }

  /** Where the range starts in the buffer. */
  long offset() {
    return offset;
  }

  @Override
  public long bytes() {
    return bytes;
  }

  @Override
  public int misalignment() {
    return misalignment;
  }

  @Override
  public void close() {
    release.run();
  }
}
