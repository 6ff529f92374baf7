package dev.weft.backend.cuda.moba;

import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.spi.LaunchContext;

/**
 * Append to the paged cache: one launch stores the rows, a second the means of the blocks that they
 * complete; see src/main/cuda/moba/cache.cuh.
 */
final class MobaAppendPass {
  static final String ROWS = "moba_append";

  private static final int ROW_THREADS = 128;
  private static final int MEAN_THREADS = 256;

  private final MobaAttentionSpec spec;
  private final KernelFunction rows;
  private final KernelFunction means;

  MobaAppendPass(CudaDevice device, MobaAttentionSpec spec) {
    this.spec = spec;
    rows = device.kernel(ROWS);
    means = device.kernel(means(spec));
  }

  static String means(MobaAttentionSpec spec) {
    return "moba_append_means_" + spec.dataType().text();
  }

  void run(LaunchContext context, MobaAppend a) {
    MobaArguments arguments = MobaArguments.of(spec, a);
    if (arguments.tensors().tokens() == 0 || a.cuSeqlens().size(0) == 1) {
      return;
    }
    CudaStream stream = (CudaStream) context.stream();
    arguments.putAppend(stream.parameters());
    stream.launch(rows, arguments.tensors().tokens(), 1, ROW_THREADS);
    arguments.putAppend(stream.parameters());
    stream.launch(means, arguments.tensors().tokens(), spec.kvHeads(), MEAN_THREADS);
  }
}
