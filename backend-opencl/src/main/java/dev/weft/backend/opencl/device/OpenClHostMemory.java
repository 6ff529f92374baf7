package dev.weft.backend.opencl.device;

import dev.weft.DeviceOutOfMemoryException;
import dev.weft.backend.opencl.driver.Calls;
import dev.weft.backend.opencl.driver.Status;
import dev.weft.spi.BackendHostMemory;
import java.lang.foreign.MemorySegment;

/** Host memory of a buffer that the driver pinned, mapped as long as it lives. */
final class OpenClHostMemory implements BackendHostMemory {
  private final OpenClContext context;
  private final long buffer;
  private final MemorySegment segment;

  @SuppressWarnings("restricted") // the driver says that it mapped these bytes
  OpenClHostMemory(OpenClContext context, long bytes) {
    this.context = context;
    Calls calls = context.calls();
    buffer = orThrow("clCreateBuffer", calls.createHostBuffer(context.raw(), bytes), bytes);
    long address;
    try {
      address = orThrow("clEnqueueMapBuffer", calls.map(context.chores(), buffer, bytes), bytes);
    } catch (Throwable t) {
      calls.releaseMemory(buffer);
      throw t;
    }
    segment = MemorySegment.ofAddress(address).reinterpret(bytes);
  }

  private static long orThrow(String call, Calls.Created created, long bytes) {
    if (Status.isOutOfMemory(created.code())) {
      throw new DeviceOutOfMemoryException("pinned host memory", bytes, -1, bytes);
    }
    return created.orThrow(call);
  }

  @Override
  public MemorySegment segment() {
    return segment;
  }

  @Override
  public void close() {
    try {
      context.calls().unmap(context.chores(), buffer, segment.address());
      context.calls().finish(context.chores());
    } finally {
      context.calls().releaseMemory(buffer);
    }
  }
}
