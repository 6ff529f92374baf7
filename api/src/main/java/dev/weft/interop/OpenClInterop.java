package dev.weft.interop;

import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;

/** Sharing with OpenCL code. */
public interface OpenClInterop {
  /**
   * Wraps a buffer, for {@link dev.weft.Device#wrap(BackendMemory, dev.weft.DataType, long...)}.
   *
   * @param buffer a cl_mem of this device's context; retained until closed
   * @param offset where to start, in bytes
   * @param bytes how many bytes from there on may be used
   * @return memory over the buffer
   */
  BackendMemory wrapMemory(long buffer, long offset, long bytes);

  /**
   * Wraps a queue, for {@link dev.weft.Device#wrap(BackendStream)}.
   *
   * @param queue an in-order cl_command_queue of this device's context; retained until closed
   * @return a stream over the queue
   */
  BackendStream wrapStream(long queue);

  /**
   * Returns a memory's buffer.
   *
   * @param memory memory of this device
   * @return a cl_mem
   */
  long buffer(BackendMemory memory);

  /**
   * Returns where a memory starts in its buffer; add a tensor's {@code byteOffset()}.
   *
   * @param memory memory of this device
   * @return bytes
   */
  long bufferOffset(BackendMemory memory);

  /**
   * Returns a stream's queue.
   *
   * @param stream a stream of this device
   * @return a cl_command_queue
   */
  long queue(BackendStream stream);

  /**
   * Returns the context in use.
   *
   * @return a cl_context
   */
  long context();
}
