package dev.weft.backend.cuda.device;

import dev.weft.DeviceOutOfMemoryException;
import dev.weft.backend.cuda.driver.Handles.DevicePointer;
import dev.weft.backend.cuda.driver.Status;
import dev.weft.gpu.MemoryPool;
import jcuda.driver.JCudaDriver;
import org.jspecify.annotations.Nullable;

/**
 * Device memory from cuMemAlloc, by address. It is pooled, since cuMemFree waits for the whole
 * device. (A stream-ordered pool of the driver's would tie each block to the stream it was freed
 * on.)
 */
final class DeviceBlocks implements MemoryPool.Source<Long> {
  private static final int CAPTURE_RELAXED = 2;

  private final CudaContext context;
  private final long total;

  DeviceBlocks(CudaContext context, long total) {
    this.context = context;
    this.total = total;
  }

  @Override
  public @Nullable Long allocate(long bytes) {
    context.bind();
    DevicePointer pointer = new DevicePointer();
    int code = unhindered(() -> JCudaDriver.cuMemAlloc(pointer, bytes));
    if (code == Status.OUT_OF_MEMORY) {
      return null;
    }
    Status.check("cuMemAlloc", code);
    return pointer.raw();
  }

  @Override
  public void free(Long address) {
    context.bind();
    Status.check("cuMemFree", unhindered(() -> JCudaDriver.cuMemFree(new DevicePointer(address))));
  }

  @Override
  public DeviceOutOfMemoryException exhausted(long bytes) {
    return new DeviceOutOfMemoryException("device memory", bytes, freeBytes(), total);
  }

  /** What the driver could still allocate, or -1 if it does not say. */
  long freeBytes() {
    context.bind();
    long[] available = new long[1];
    long[] all = new long[1];
    return JCudaDriver.cuMemGetInfo(available, all) == Status.SUCCESS ? available[0] : -1;
  }

  interface Call {
    int run();
  }

  /** Runs a call that another thread's capture would forbid, where that capture is global. */
  static int unhindered(Call call) {
    int[] mode = {CAPTURE_RELAXED};
    int exchanged = JCudaDriver.cuThreadExchangeStreamCaptureMode(mode);
    try {
      return call.run();
    } finally {
      if (exchanged == Status.SUCCESS) {
        Status.check(
            "cuThreadExchangeStreamCaptureMode",
            JCudaDriver.cuThreadExchangeStreamCaptureMode(mode));
      }
    }
  }
}
