package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.gpu.TensorLayout;
import dev.weft.gpu.moe.BoundWeights;
import dev.weft.gpu.moe.MoePlan;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;

/** y: each token's slots in slot order, weighed, and the shared expert's part; moe_combine.cu. */
final class Combination {
  private static final int MOST_THREADS = 256;
  private static final int WARP = 32;

  private final MoeDispatchSpec spec;
  private final KernelFunction combine;

  Combination(CudaDevice device, MoeDispatchSpec spec) {
    this.spec = spec;
    combine = device.kernel(kernel(spec.dataType()));
  }

  static String kernel(DataType type) {
    return "moe_combine_" + type.text();
  }

  void enqueue(
      CudaStream stream,
      MoeForward a,
      BoundWeights weights,
      Routing routing,
      ExpertWork work,
      MoePlan plan,
      long scratch) {
    Tensor y = a.y();
    int bytes = spec.dataType().bytes();
    int vector = 16 / bytes;
    long first = work.firstToken();
    stream
        .parameters()
        .put(work.out())
        .put(weights.shared() == null ? 0 : scratch + plan.sharedOut)
        .put(spec.sharedGate() ? scratch + plan.sharedLogits + first * Float.BYTES : 0)
        .put(TensorArguments.address(y) + first * TensorLayout.stride(y, 0) * bytes)
        .put(routing.ids() + first * routing.idPitch() * Integer.BYTES)
        .put(routing.weights() + first * routing.weightPitch() * Float.BYTES)
        .put(work.tokenCount())
        .put(work.outPitch())
        .put(TensorLayout.stride(y, 0))
        .put(routing.idPitch())
        .put(routing.weightPitch())
        .put(work.firstToken())
        .put(work.tokens())
        .put(spec.topK())
        .put(spec.hidden())
        .put(spec.firstExpert())
        .put(spec.localExperts())
        .put(TensorLayout.isAligned(y, 16) ? 1 : 0);
    int needed = (spec.hidden() + vector - 1) / vector;
    int threads = Math.min(MOST_THREADS, (needed + WARP - 1) / WARP * WARP);
    int columns = (needed + threads - 1) / threads;
    stream.launch(
        combine,
        LaunchShape.of((long) work.tokens() * columns, 1, threads).overlappingPredecessor());
  }
}
