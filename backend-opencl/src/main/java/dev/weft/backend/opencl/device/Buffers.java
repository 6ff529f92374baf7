package dev.weft.backend.opencl.device;

import dev.weft.DeviceOutOfMemoryException;
import dev.weft.backend.opencl.driver.Calls;
import dev.weft.backend.opencl.driver.Status;
import dev.weft.gpu.MemoryPool;
import org.jspecify.annotations.Nullable;

/** Allocates a device's buffers. Those of the pool are touched, so that they are there for sure. */
final class Buffers implements MemoryPool.Source<Long> {
  private final OpenClContext context;
  private final Calls calls;

  Buffers(OpenClContext context) {
    this.context = context;
    calls = context.calls();
  }

  @Override
  public @Nullable Long allocate(long bytes) {
    if (bytes > context.device().memoryBytes()) {
      return null; // some drivers would allocate it, and fail when it is used
    }
    Calls.Created created = calls.createBuffer(context.raw(), bytes);
    if (created.code() != Status.SUCCESS) {
      return failed("clCreateBuffer", created.code());
    }
    // A driver may put the allocation off until a command uses the buffer, and that command would
    // be a launch.
    int code = calls.touch(context.chores(), created.handle(), bytes - 1);
    if (code != Status.SUCCESS) {
      calls.releaseMemory(created.handle());
      return failed("clEnqueueWriteBuffer", code);
    }
    return created.handle();
  }

  private static @Nullable Long failed(String call, int code) {
    if (Status.isOutOfMemory(code)) {
      return null;
    }
    throw Status.failure(call, code);
  }

  @Override
  public void free(Long buffer) {
    calls.releaseMemory(buffer);
  }

  @Override
  public DeviceOutOfMemoryException exhausted(long bytes) {
    long most = context.device().mostBufferBytes();
    return new DeviceOutOfMemoryException(
        bytes > most
            ? "device memory (a buffer of this device has at most " + most + " bytes)"
            : "device memory",
        bytes,
        -1,
        context.device().memoryBytes());
  }
}
