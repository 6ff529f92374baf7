package dev.weft.backend.opencl.device;

import dev.weft.backend.opencl.driver.Calls;
import dev.weft.interop.OpenClInterop;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;

/** Sharing memory and queues with other OpenCL code of the process. */
record Interop(OpenClContext shared) implements OpenClInterop {
  @Override
  public BackendMemory wrapMemory(long buffer, long offset, long bytes) {
    Calls calls = shared.calls();
    long size = calls.bytesOf(buffer);
    if (offset < 0 || bytes < 0 || offset > size || bytes > size - offset) {
      throw new IllegalArgumentException(
          "wrapMemory: " + bytes + " bytes from " + offset + " of a buffer of " + size);
    }
    // A buffer starts aligned, but for one over memory of the host's that need not be.
    int misalignment = (int) ((calls.hostPointerOf(buffer) + offset) & 255);
    calls.retainMemory(buffer);
    return new OpenClMemory(buffer, offset, bytes, misalignment, () -> calls.releaseMemory(buffer));
  }

  @Override
  public BackendStream wrapStream(long queue) {
    if (shared.calls().contextOf(queue) != shared.raw()) {
      throw new IllegalArgumentException("wrapStream: the queue is of another context");
    }
    return OpenClStream.wrap(shared, queue);
  }

  @Override
  public long buffer(BackendMemory memory) {
    return ((OpenClMemory) memory).buffer();
  }

  @Override
  public long bufferOffset(BackendMemory memory) {
    return ((OpenClMemory) memory).offset();
  }

  @Override
  public long queue(BackendStream stream) {
    return ((OpenClStream) stream).queue();
  }

  @Override
  public long context() {
    return shared.raw();
  }
}
