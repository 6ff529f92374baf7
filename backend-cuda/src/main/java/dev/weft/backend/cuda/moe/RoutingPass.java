package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.gpu.TensorLayout;
import dev.weft.gpu.moe.MoeCodes;
import dev.weft.gpu.moe.MoePlan;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.GroupScore;
import dev.weft.moe.RouterSpec.Source;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** Logits, and from them experts and weights, for all tokens of a call; moe_routing.cu says how. */
final class RoutingPass {
  static final String ROUTE = "moe_route";
  static final String COPY = "moe_copy_routing";
  static final String LOGITS_FEW = "moe_logits_few";
  static final String LOGITS_ANY = "moe_logits_any";
  static final String LOGITS_BF16 = "moe_logits_bf16";
  static final String LOGITS_F16 = "moe_logits_f16";

  /** Up to so many tokens a warp computes one logit of several of them. */
  private static final int FEW_TOKENS = 32;

  /** Tokens of a warp there. */
  private static final int FEW_TOKENS_OF_WARP = 4;

  private static final int WARP = 32;
  private static final int FEW_THREADS = 128;
  private static final int LOGITS_TILE = 64;
  private static final int MMA_THREADS = 128;
  private static final int FMA_THREADS = 256;
  private static final int ROUTE_WARPS = 4;

  private final MoeDispatchSpec spec;
  private final KernelFunction route;
  private final KernelFunction copy;
  private final KernelFunction logitsFew;
  private final KernelFunction logitsMany;
  private final boolean matrixUnits;

  RoutingPass(CudaDevice device, MoeDispatchSpec spec) {
    this.spec = spec;
    route = device.kernel(ROUTE);
    copy = device.kernel(COPY);
    logitsFew = device.kernel(LOGITS_FEW);
    matrixUnits = spec.dataType() == spec.routerType() && spec.dataType() != DataType.F32;
    logitsMany =
        device.kernel(
            !matrixUnits
                ? LOGITS_ANY
                : spec.dataType() == DataType.BF16 ? LOGITS_BF16 : LOGITS_F16);
  }

  /** Enqueues all of it. */
  Routing enqueue(CudaStream stream, MoeWeights weights, MoeForward a, MoePlan plan, long scratch) {
    int tokens = Math.toIntExact(a.x().size(0));
    if (spec.sharedGate() && tokens > 0) {
      // The shared expert's gate is one more row of logits.
      Tensor gate = Objects.requireNonNull(weights.sharedGateWeight());
      logits(stream, logitsFew, a, gate, null, scratch + plan.sharedLogits, 1, true);
    }
    if (spec.router().source() == Source.GIVEN) {
      return given(stream, a, tokens);
    }
    Tensor given = a.givenLogits();
    long logits = given == null ? scratch + plan.logits : TensorArguments.address(given);
    long pitch = given == null ? spec.experts() : TensorLayout.stride(given, 0);
    if (tokens > 0) {
      if (given == null) {
        Tensor router = Objects.requireNonNull(weights.routerWeight());
        boolean few = tokens <= FEW_TOKENS;
        logits(
            stream,
            few ? logitsFew : logitsMany,
            a,
            router,
            weights.routerBias(),
            logits,
            spec.experts(),
            few);
      }
      route(stream, weights, a, logits, pitch, scratch + plan.ids, scratch + plan.weights, tokens);
    }
    return new Routing(scratch + plan.ids, spec.topK(), scratch + plan.weights, spec.topK());
  }

  private Routing given(CudaStream stream, MoeForward a, int tokens) {
    Tensor ids = Objects.requireNonNull(a.givenIds());
    Tensor weights = Objects.requireNonNull(a.givenWeights());
    Routing routing =
        new Routing(
            TensorArguments.address(ids),
            TensorLayout.stride(ids, 0),
            TensorArguments.address(weights),
            TensorLayout.stride(weights, 0));
    MoeSaved saved = a.saved();
    if (saved != null && tokens > 0) {
      stream
          .parameters()
          .put(routing.ids())
          .put(routing.weights())
          .put(TensorArguments.address(saved.ids()))
          .put(TensorArguments.address(saved.routingWeights()))
          .put(TensorArguments.address(a.tokenCount()))
          .put(routing.idPitch())
          .put(routing.weightPitch())
          .put(TensorLayout.stride(saved.ids(), 0))
          .put(TensorLayout.stride(saved.routingWeights(), 0))
          .put(tokens)
          .put(spec.topK());
      long slots = (long) tokens * spec.topK();
      stream.launch(copy, (slots + FMA_THREADS - 1) / FMA_THREADS, 1, FMA_THREADS);
    }
    return routing;
  }

  private void logits(
      CudaStream stream,
      KernelFunction kernel,
      MoeForward a,
      Tensor rows,
      @Nullable Tensor bias,
      long logits,
      int experts,
      boolean few) {
    Tensor x = a.x();
    int tokens = Math.toIntExact(x.size(0));
    boolean aligned = TensorLayout.isAligned(x, 16) && TensorLayout.isAligned(rows, 16);
    stream
        .parameters()
        .put(TensorArguments.address(x))
        .put(TensorArguments.address(rows))
        .put(TensorArguments.address(bias))
        .put(logits)
        .put(TensorArguments.address(a.tokenCount()))
        .put(TensorLayout.stride(x, 0))
        .put(TensorLayout.stride(rows, 0))
        .put((long) experts)
        .put(tokens)
        .put(experts)
        .put(spec.hidden())
        .put(TensorLayout.typeCode(spec.dataType()))
        .put(TensorLayout.typeCode(spec.routerType()))
        .put(aligned ? 1 : 0);
    if (few) {
      int warps = FEW_THREADS / WARP;
      stream.launch(
          kernel,
          LaunchShape.of(
              (long) ((experts + warps - 1) / warps)
                  * ((tokens + FEW_TOKENS_OF_WARP - 1) / FEW_TOKENS_OF_WARP),
              1,
              FEW_THREADS));
      return;
    }
    long blocks =
        (long) ((tokens + LOGITS_TILE - 1) / LOGITS_TILE)
            * ((experts + LOGITS_TILE - 1) / LOGITS_TILE);
    stream.launch(kernel, blocks, 1, matrixUnits ? MMA_THREADS : FMA_THREADS);
  }

  private void route(
      CudaStream stream,
      MoeWeights weights,
      MoeForward a,
      long logits,
      long logitPitch,
      long ids,
      long routingWeights,
      int tokens) {
    RouterSpec router = spec.router();
    MoeSaved saved = a.saved();
    ParameterBlock block =
        stream
            .parameters()
            .put(logits)
            .put(TensorArguments.address(weights.correctionBias()))
            .put(TensorArguments.address(a.tokenCount()))
            .put(ids)
            .put(routingWeights);
    putOutput(block, a.ids());
    putOutput(block, saved == null ? null : saved.ids());
    putOutput(block, a.routingWeights());
    putOutput(block, saved == null ? null : saved.routingWeights());
    putOutput(block, a.logits());
    putOutput(block, saved == null ? null : saved.logits());
    block
        .put(logitPitch)
        .put(tokens)
        .put(spec.experts())
        .put(spec.topK())
        .put(MoeCodes.score(router.score()))
        .put(router.groups())
        .put(router.topkGroups())
        .put(router.groupScore() == GroupScore.TOP2_SUM ? 1 : 0)
        .put(MoeCodes.normalize(router.normalize()))
        .put(router.epsilon())
        .put(router.scalingFactor());
    int shared = ROUTE_WARPS * (2 * spec.experts() + router.groups()) * Float.BYTES;
    stream.launch(
        route,
        LaunchShape.of((tokens + ROUTE_WARPS - 1) / ROUTE_WARPS, 1, ROUTE_WARPS * WARP)
            .withShared(shared));
  }

  private static void putOutput(ParameterBlock block, @Nullable Tensor tensor) {
    block.put(TensorArguments.address(tensor)).put(MoeCodes.pitch(tensor));
  }
}
