package dev.weft.backend.cuda.device;

import dev.weft.backend.cuda.driver.Handles;
import dev.weft.backend.cuda.driver.Status;
import dev.weft.backend.cuda.driver.StreamCalls;
import jcuda.driver.CUdevice;
import jcuda.driver.JCudaDriver;

/** A device's primary context, which other CUDA libraries of the process share. */
final class CudaContext {
  private final CUdevice device;
  private final StreamCalls calls;
  private final Handles.Context context = new Handles.Context();

  CudaContext(CUdevice device, StreamCalls calls) {
    this.device = device;
    this.calls = calls;
    Status.check("cuDevicePrimaryCtxRetain", JCudaDriver.cuDevicePrimaryCtxRetain(context, device));
  }

  /**
   * Makes the context current on the calling thread. Every entry does: a virtual thread changes its
   * carrier, and other libraries change what is current.
   */
  void bind() {
    Status.check("cuCtxSetCurrent", JCudaDriver.cuCtxSetCurrent(context));
  }

  StreamCalls calls() {
    return calls;
  }

  long raw() {
    return context.raw();
  }

  void release() {
    Status.check("cuDevicePrimaryCtxRelease", JCudaDriver.cuDevicePrimaryCtxRelease(device));
  }
}
