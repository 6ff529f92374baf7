package dev.weft;

import dev.weft.spi.BackendKernel;

/** A backend's kernel on its way to the user's {@link Kernel}; see {@link OperationSpec#wrap}. */
public final class Prepared {
  final Device device;
  final OperationSpec<?> spec;
  final BackendKernel kernel;
  final Lifetime lifetime;

  Prepared(Device device, OperationSpec<?> spec, BackendKernel kernel, Lifetime lifetime) {
    this.device = device;
    this.spec = spec;
    this.kernel = kernel;
    this.lifetime = lifetime;
  }
}
