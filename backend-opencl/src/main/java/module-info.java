/**
 * The provider {@code opencl}: every OpenCL 1.2 device, with kernels that the device's own compiler
 * builds when an operation is prepared.
 *
 * <p>Exports nothing: users find it through {@link dev.weft.Weft}.
 */
@org.jspecify.annotations.NullMarked
module dev.weft.backend.opencl {
  requires dev.weft.api;
  requires dev.weft.gpu;
  requires java.logging; // JOCL uses it and, an automatic module, cannot say so
  requires jocl;
  requires static org.jspecify;

  provides dev.weft.spi.KernelProvider with
      dev.weft.backend.opencl.OpenClProvider;
}
