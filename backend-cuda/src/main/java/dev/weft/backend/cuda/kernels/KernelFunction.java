package dev.weft.backend.cuda.kernels;

import dev.weft.backend.cuda.driver.StreamCalls;

/** A kernel on a device. */
public final class KernelFunction {
  private final String name;
  private final long handle;
  private final int parameterBytes;

  KernelFunction(String name, long handle, int parameterBytes) {
    this.name = name;
    this.handle = handle;
    this.parameterBytes = parameterBytes;
  }

  /**
   * Enqueues a launch. The context is bound.
   *
   * @param calls the driver
   * @param stream a CUstream
   * @param gridX blocks, at least 1
   * @param gridY blocks, 1 to 65,535
   * @param blockX threads of a block
   * @param parameters the argument structure
   */
  public void launch(
      StreamCalls calls,
      long stream,
      long gridX,
      int gridY,
      int blockX,
      ParameterBlock parameters) {
    if (parameters.size() != parameterBytes) {
      throw new IllegalStateException(
          name + " takes " + parameterBytes + " bytes, but was given " + parameters.size());
    }
    calls.launch(handle, Math.toIntExact(gridX), gridY, blockX, 0, stream, parameters.pointers());
  }

  @Override
  public String toString() {
    return name;
  }
}
