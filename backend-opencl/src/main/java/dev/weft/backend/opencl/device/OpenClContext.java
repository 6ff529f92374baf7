package dev.weft.backend.opencl.device;

import dev.weft.backend.opencl.driver.Calls;
import dev.weft.backend.opencl.driver.DeviceProperties;
import dev.weft.backend.opencl.driver.Status;
import org.jocl.CL;
import org.jocl.cl_context;
import org.jocl.cl_context_properties;
import org.jocl.cl_device_id;

/** A context over one device, with a queue of its own for what has to be waited for. */
final class OpenClContext {
  private final DeviceProperties device;
  private final Calls calls;
  private final cl_context context;
  private final long chores;

  OpenClContext(DeviceProperties device, Calls calls) {
    this.device = device;
    this.calls = calls;
    cl_context_properties properties = new cl_context_properties();
    properties.addProperty(CL.CL_CONTEXT_PLATFORM, device.platform());
    int[] code = new int[1];
    context = CL.clCreateContext(properties, 1, new cl_device_id[] {device.id()}, null, null, code);
    Status.check("clCreateContext", code[0]);
    try {
      chores = calls.createQueue(raw(), rawDevice(), false);
    } catch (Throwable t) {
      CL.clReleaseContext(context);
      throw t;
    }
  }

  DeviceProperties device() {
    return device;
  }

  Calls calls() {
    return calls;
  }

  cl_context context() {
    return context;
  }

  /** A cl_context. */
  long raw() {
    return context.getNativePointer();
  }

  /** A cl_device_id. */
  long rawDevice() {
    return device.id().getNativePointer();
  }

  /** A queue that is used for short blocking calls by any thread. */
  long chores() {
    return chores;
  }

  void release() {
    try {
      calls.releaseQueue(chores);
    } finally {
      Status.check("clReleaseContext", CL.clReleaseContext(context));
    }
  }
}
