package dev.weft.backend.cuda.device;

import dev.weft.spi.BackendMemory;

/**
 * A range of device memory, or of host memory that the device reaches.
 *
 * <p>Its address is valid on the device only.
 */
public final class CudaMemory implements BackendMemory {
  private final long address;
  private final long bytes;
  private final Runnable release;

  CudaMemory(long address, long bytes, Runnable release) {
    this.address = address;
    this.bytes = bytes;
    this.release = release;
  }

  /** A CUdeviceptr. */
  public long address() {
    return address;
  }

  @Override
  public long bytes() {
    return bytes;
  }

  @Override
  public int misalignment() {
    return (int) (address & 255);
  }

  @Override
  public void close() {
    release.run();
  }
}
