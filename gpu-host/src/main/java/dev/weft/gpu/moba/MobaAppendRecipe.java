package dev.weft.gpu.moba;

import dev.weft.Tensor;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.KernelName;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.spi.LaunchContext;
import java.util.List;

/**
 * Append to the paged cache: one dispatch stores the rows, a second the means of the blocks that
 * they complete; see moba/cache.cl.
 */
final class MobaAppendRecipe {
  private static final int GROUP = 128;
  private static final int ELEMENTS = 16;

  private final MobaAttentionSpec spec;
  private final ComputeKernel rows;
  private final ComputeKernel means;

  MobaAppendRecipe(ComputeDevice device, MobaAttentionSpec spec) {
    this.spec = spec;
    KernelName source = MobaForwardRecipe.means(spec);
    List<ComputeKernel> kernels =
        device.kernels(
            List.of(source.function("moba_append"), source.function("moba_append_means")));
    rows = kernels.get(0);
    means = kernels.get(1);
  }

  void run(LaunchContext context, MobaAppend a) {
    MobaTensors tensors = MobaTensors.of(spec, a);
    if (tensors.tokens() == 0 || tensors.sequences() == 0) {
      return;
    }
    ComputeStream stream = ComputeStream.of(context);
    Arguments to = stream.arguments();
    tensors.putBatch(to);
    MobaTensors.putMatrix(to, a.k());
    MobaTensors.putMatrix(to, a.v());
    MobaTensors.putPages(to, a.keyCache());
    MobaTensors.putPages(to, a.valueCache());
    to.value(spec.kvHeads()).value(spec.headDim()).value(spec.valueDim());
    int chunks = (Math.max(spec.headDim(), spec.valueDim()) + ELEMENTS - 1) / ELEMENTS;
    long items = (long) tensors.tokens() * spec.kvHeads() * chunks;
    stream.dispatch(rows, MobaListBuilder.groups(items, GROUP), 1, 1, GROUP);

    Tensor kept = a.blockMeans();
    to = stream.arguments();
    tensors.putBatch(to);
    MobaTensors.putPages(to, a.keyCache());
    MobaTensors.putPages(to, kept);
    to.value(spec.headDim()).value(MobaTensors.aligned(a.keyCache(), 1));
    stream.dispatch(means, tensors.tokens(), spec.kvHeads(), 1, GROUP);
  }
}
