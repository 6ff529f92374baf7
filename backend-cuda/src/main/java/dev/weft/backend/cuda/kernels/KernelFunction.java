package dev.weft.backend.cuda.kernels;

import dev.weft.backend.cuda.driver.Handles;
import dev.weft.backend.cuda.driver.Status;
import dev.weft.backend.cuda.driver.StreamCalls;
import jcuda.driver.CUfunction_attribute;
import jcuda.driver.JCudaDriver;

/** A kernel on a device. */
public final class KernelFunction {
  private final String name;
  private final Handles.Function function;
  private final int parameterBytes;
  private final boolean overlaps;

  /**
   * Dynamic shared memory that launches may ask for. A driver gives 48 KiB unasked, less what the
   * kernel itself declares; so it is asked whatever the size.
   */
  private volatile int sharedLimit;

  /**
   * Takes a function.
   *
   * @param name its name
   * @param function its handle
   * @param parameterBytes the size of its argument structure
   * @param overlaps whether its image has the instruction that waits for the launch ahead
   */
  KernelFunction(String name, Handles.Function function, int parameterBytes, boolean overlaps) {
    this.name = name;
    this.function = function;
    this.parameterBytes = parameterBytes;
    this.overlaps = overlaps;
  }

  /**
   * Enqueues a launch. The context is bound.
   *
   * @param calls the driver
   * @param stream a CUstream
   * @param shape blocks and threads
   * @param parameters the argument structure
   */
  public void launch(StreamCalls calls, long stream, LaunchShape shape, ParameterBlock parameters) {
    if (parameters.size() != parameterBytes) {
      throw new IllegalStateException(
          name + " takes " + parameterBytes + " bytes, but was given " + parameters.size());
    }
    if (shape.sharedBytes() > sharedLimit) {
      allowShared(shape.sharedBytes());
    }
    int gridX = Math.toIntExact(shape.gridX());
    if (overlaps && shape.overlapping()) {
      calls.launch(
          function.raw(), parameters.overlapping(shape, gridX, stream), parameters.pointers());
    } else {
      calls.launch(
          function.raw(),
          gridX,
          shape.gridY(),
          shape.threads(),
          shape.sharedBytes(),
          stream,
          parameters.pointers());
    }
  }

  /** Several threads may do this at once; the largest wish holds in the end. */
  private synchronized void allowShared(int bytes) {
    if (bytes > sharedLimit) {
      Status.check(
          "cuFuncSetAttribute(" + name + ", " + bytes + " bytes of shared memory)",
          JCudaDriver.cuFuncSetAttribute(
              function,
              CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
              bytes));
      sharedLimit = bytes;
    }
  }

  @Override
  public String toString() {
    return name;
  }
}
