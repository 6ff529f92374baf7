package dev.weft.backend.cuda.device;

import dev.weft.DeviceOutOfMemoryException;
import dev.weft.backend.cuda.driver.Handles.DevicePointer;
import dev.weft.backend.cuda.driver.Status;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Map;
import java.util.TreeMap;
import jcuda.driver.JCudaDriver;
import org.jspecify.annotations.Nullable;

/**
 * Device memory from cuMemAlloc, kept for reuse when it is freed: cuMemFree waits for the whole
 * device, and the api frees only what no launch uses any more, so a block can serve any stream at
 * once. (A stream-ordered pool would tie each block to the stream it was freed on.)
 *
 * <p>Sizes are rounded up, to 512 bytes below 1 MiB and to 2 MiB above, and a block serves requests
 * of at least seven eighths of its size.
 */
final class MemoryPool {
  private static final long SMALL = 512;
  private static final long LARGE = 2L << 20;
  private static final int CAPTURE_RELAXED = 2;

  private final CudaContext context;
  private final long total;
  private final TreeMap<Long, Deque<Long>> free = new TreeMap<>();
  private long pooled;

  MemoryPool(CudaContext context, long total) {
    this.context = context;
    this.total = total;
  }

  static long rounded(long bytes) {
    long unit = bytes < (1 << 20) ? SMALL : LARGE;
    return bytes > Long.MAX_VALUE - unit ? bytes : (bytes + unit - 1) / unit * unit;
  }

  CudaMemory allocate(long bytes) {
    long size = rounded(bytes);
    long @Nullable [] block = take(size);
    if (block == null) {
      block = fresh(bytes, size);
    }
    long address = block[0];
    long whole = block[1];
    return new CudaMemory(address, bytes, () -> give(address, whole));
  }

  /** Address and size of a free block that fits. */
  private synchronized long @Nullable [] take(long size) {
    Map.Entry<Long, Deque<Long>> fit = free.ceilingEntry(size);
    if (fit == null || fit.getKey() - size > fit.getKey() / 8) {
      return null;
    }
    long whole = fit.getKey();
    long address = fit.getValue().pop();
    if (fit.getValue().isEmpty()) {
      free.remove(whole);
    }
    pooled -= whole;
    return new long[] {address, whole};
  }

  private long[] fresh(long bytes, long size) {
    context.bind();
    DevicePointer pointer = new DevicePointer();
    int code = unhindered(() -> JCudaDriver.cuMemAlloc(pointer, size));
    if (code == Status.OUT_OF_MEMORY) {
      trim();
      code = unhindered(() -> JCudaDriver.cuMemAlloc(pointer, size));
    }
    if (code == Status.OUT_OF_MEMORY) {
      throw new DeviceOutOfMemoryException("device memory", bytes, freeBytes(), total);
    }
    Status.check("cuMemAlloc", code);
    return new long[] {pointer.raw(), size};
  }

  private synchronized void give(long address, long whole) {
    free.computeIfAbsent(whole, size -> new ArrayDeque<>()).push(address);
    pooled += whole;
  }

  synchronized long pooledBytes() {
    return pooled;
  }

  long freeBytes() {
    context.bind();
    long[] available = new long[1];
    long[] all = new long[1];
    return JCudaDriver.cuMemGetInfo(available, all) == Status.SUCCESS ? available[0] : -1;
  }

  /** Gives everything unused back to the driver. */
  void trim() {
    context.bind();
    Map<Long, Deque<Long>> blocks;
    synchronized (this) {
      blocks = new TreeMap<>(free);
      free.clear();
      pooled = 0;
    }
    for (Deque<Long> addresses : blocks.values()) {
      for (long address : addresses) {
        Status.check(
            "cuMemFree", unhindered(() -> JCudaDriver.cuMemFree(new DevicePointer(address))));
      }
    }
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
