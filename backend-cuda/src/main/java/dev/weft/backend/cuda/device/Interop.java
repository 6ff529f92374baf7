package dev.weft.backend.cuda.device;

import dev.weft.interop.CudaInterop;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;

/** Sharing memory and streams with other CUDA code of the process. */
record Interop(CudaContext shared) implements CudaInterop {
  @Override
  public BackendMemory wrapMemory(long pointer, long bytes) {
    return new CudaMemory(pointer, bytes, () -> {});
  }

  @Override
  public BackendStream wrapStream(long stream) {
    return CudaStream.wrap(shared, stream);
  }

  @Override
  public long pointer(BackendMemory memory) {
    return ((CudaMemory) memory).address();
  }

  @Override
  public long stream(BackendStream stream) {
    return ((CudaStream) stream).handle();
  }

  @Override
  public long context() {
    return shared.raw();
  }
}
