package dev.weft.backend.cuda.device;

import dev.weft.DeviceOutOfMemoryException;
import dev.weft.backend.cuda.driver.Handles.HostPointer;
import dev.weft.backend.cuda.driver.Status;
import dev.weft.spi.BackendHostMemory;
import java.lang.foreign.MemorySegment;
import jcuda.driver.JCudaDriver;

/** Pinned host memory. */
final class CudaHostMemory implements BackendHostMemory {
  private static final int PORTABLE = 1;

  private final CudaContext context;
  private final HostPointer pointer = new HostPointer();
  private final MemorySegment segment;

  @SuppressWarnings("restricted") // the driver says that it allocated these bytes
  CudaHostMemory(CudaContext context, long bytes) {
    this.context = context;
    int code = DeviceBlocks.unhindered(() -> JCudaDriver.cuMemHostAlloc(pointer, bytes, PORTABLE));
    if (code == Status.OUT_OF_MEMORY) {
      throw new DeviceOutOfMemoryException("pinned host memory", bytes, -1, bytes);
    }
    Status.check("cuMemHostAlloc", code);
    segment = MemorySegment.ofAddress(pointer.raw()).reinterpret(bytes);
  }

  @Override
  public MemorySegment segment() {
    return segment;
  }

  @Override
  public void close() {
    context.bind();
    Status.check(
        "cuMemFreeHost", DeviceBlocks.unhindered(() -> JCudaDriver.cuMemFreeHost(pointer)));
  }
}
