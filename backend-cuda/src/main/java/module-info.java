/**
 * The provider {@code cuda}: NVIDIA GPUs through the driver API, with kernels that nvcc compiled
 * when this was built.
 *
 * <p>Exports nothing: users find it through {@link dev.weft.Weft}.
 */
@org.jspecify.annotations.NullMarked
module dev.weft.backend.cuda {
  requires dev.weft.api;
  requires dev.weft.gpu;
  requires jcuda;
  requires static org.jspecify;

  provides dev.weft.spi.KernelProvider with
      dev.weft.backend.cuda.CudaProvider;
}
