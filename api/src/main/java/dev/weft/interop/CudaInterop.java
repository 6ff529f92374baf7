package dev.weft.interop;

import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;

/** Sharing with CUDA code. Handles are those of the driver API. */
public interface CudaInterop {
  /**
   * Wraps device memory, for {@link dev.weft.Device#wrap(BackendMemory, dev.weft.DataType,
   * long...)}.
   *
   * @param pointer a CUdeviceptr of this device's context
   * @param bytes how many bytes from there on may be used
   * @return memory that frees nothing when closed
   */
  BackendMemory wrapMemory(long pointer, long bytes);

  /**
   * Wraps a stream, for {@link dev.weft.Device#wrap(BackendStream)}.
   *
   * @param stream a CUstream of this device's context; 0 is the legacy default stream
   * @return a stream that destroys nothing when closed
   */
  BackendStream wrapStream(long stream);

  /**
   * Returns a memory's address; add a tensor's {@code byteOffset()}.
   *
   * @param memory memory of this device
   * @return a CUdeviceptr
   */
  long pointer(BackendMemory memory);

  /**
   * Returns a stream's handle.
   *
   * @param stream a stream of this device
   * @return a CUstream
   */
  long stream(BackendStream stream);

  /**
   * Returns the context in use.
   *
   * @return a CUcontext
   */
  long context();
}
