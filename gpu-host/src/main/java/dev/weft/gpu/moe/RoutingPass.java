package dev.weft.gpu.moe;

import dev.weft.Tensor;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.GroupScore;
import dev.weft.moe.RouterSpec.Source;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** Logits, and from them experts and weights, for all tokens of a call; moe/routing says how. */
final class RoutingPass {
  /** Up to so many tokens a group computes one logit of several of them. */
  private static final int FEW_TOKENS = 32;

  /** Tokens of a group there. */
  private static final int FEW_TOKENS_OF_GROUP = 4;

  private static final int GROUP = 64;
  private static final int ROUTE_GROUP = 32;
  private static final int COPY_GROUP = 256;
  private static final KernelName SOURCE = KernelName.of("moe/routing", "moe_route");

  private final MoeDispatchSpec spec;
  private final ComputeKernel route;
  private final ComputeKernel copy;
  private final ComputeKernel logitsFew;
  private final ComputeKernel logitsMany;
  private final GroupTile tile;

  RoutingPass(ComputeDevice device, MoeDispatchSpec spec) {
    this.spec = spec;
    route = device.kernel(SOURCE);
    copy = device.kernel(SOURCE.function("moe_copy_routing"));
    logitsFew = device.kernel(SOURCE.function("moe_logits_few"));
    tile = GroupTile.plain(device.traits()).getLast();
    logitsMany = device.kernel(tile.kernel("moe/logits", "moe_logits"));
  }

  /** Enqueues all of it. */
  Routing enqueue(
      ComputeStream stream, MoeWeights weights, MoeForward a, MoePlan plan, Scratch scratch) {
    int tokens = Math.toIntExact(a.x().size(0));
    Region tokenCount = Region.ofNullable(a.tokenCount());
    if (spec.sharedGate()) {
      Tensor gate = Objects.requireNonNull(weights.sharedGateWeight());
      sharedGate(stream, a.x(), gate, tokenCount, scratch.at(plan.sharedLogits));
    }
    if (spec.router().source() == Source.GIVEN) {
      return given(stream, a, tokens);
    }
    Tensor given = a.givenLogits();
    if (tokens > 0) {
      if (given == null) {
        Tensor router = Objects.requireNonNull(weights.routerWeight());
        boolean few = tokens <= FEW_TOKENS;
        Region to = scratch.at(plan.logits);
        logits(stream, a.x(), router, weights.routerBias(), tokenCount, to, spec.experts(), few);
        route(stream, weights, a, to, spec.experts(), plan, scratch);
      } else {
        route(stream, weights, a, Region.of(given), TensorLayout.stride(given, 0), plan, scratch);
      }
    }
    return new Routing(scratch.at(plan.ids), spec.topK(), scratch.at(plan.weights), spec.topK());
  }

  /** Enqueues the logits of the shared expert's gate: it is one more row of logits. */
  void sharedGate(
      ComputeStream stream,
      Tensor x,
      Tensor gate,
      @Nullable Region tokenCount,
      @Nullable Region logits) {
    logits(stream, x, gate, null, tokenCount, logits, 1, true);
  }

  private Routing given(ComputeStream stream, MoeForward a, int tokens) {
    Tensor ids = Objects.requireNonNull(a.givenIds());
    Tensor weights = Objects.requireNonNull(a.givenWeights());
    Routing routing =
        new Routing(
            Region.of(ids),
            TensorLayout.stride(ids, 0),
            Region.of(weights),
            TensorLayout.stride(weights, 0));
    MoeSaved saved = a.saved();
    if (saved != null && tokens > 0) {
      stream
          .arguments()
          .region(routing.ids())
          .region(routing.weights())
          .region(Region.of(saved.ids()))
          .region(Region.of(saved.routingWeights()))
          .region(Region.ofNullable(a.tokenCount()))
          .value(routing.idPitch())
          .value(routing.weightPitch())
          .value(TensorLayout.stride(saved.ids(), 0))
          .value(TensorLayout.stride(saved.routingWeights(), 0))
          .value(tokens)
          .value(spec.topK());
      long slots = (long) tokens * spec.topK();
      stream.dispatch(copy, (slots + COPY_GROUP - 1) / COPY_GROUP, 1, 1, COPY_GROUP);
    }
    return routing;
  }

  private void logits(
      ComputeStream stream,
      Tensor x,
      Tensor rows,
      @Nullable Tensor bias,
      @Nullable Region tokenCount,
      @Nullable Region logits,
      int experts,
      boolean few) {
    int tokens = Math.toIntExact(x.size(0));
    stream
        .arguments()
        .region(Region.of(x))
        .region(Region.of(rows))
        .region(Region.ofNullable(bias))
        .region(logits)
        .region(tokenCount)
        .value(TensorLayout.stride(x, 0))
        .value(TensorLayout.stride(rows, 0))
        .value((long) experts)
        .value(tokens)
        .value(experts)
        .value(spec.hidden())
        .value(TensorLayout.typeCode(spec.dataType()))
        .value(TensorLayout.typeCode(spec.routerType()));
    if (few) {
      long groups = (long) experts * ((tokens + FEW_TOKENS_OF_GROUP - 1) / FEW_TOKENS_OF_GROUP);
      stream.dispatch(logitsFew, groups, 1, 1, GROUP);
      return;
    }
    long groups =
        (long) ((tokens + tile.rows() - 1) / tile.rows())
            * ((experts + tile.columns() - 1) / tile.columns());
    stream.dispatch(logitsMany, groups, 1, 1, tile.groupSize());
  }

  private void route(
      ComputeStream stream,
      MoeWeights weights,
      MoeForward a,
      @Nullable Region logits,
      long logitPitch,
      MoePlan plan,
      Scratch scratch) {
    RouterSpec router = spec.router();
    MoeSaved saved = a.saved();
    int tokens = Math.toIntExact(a.x().size(0));
    Arguments arguments =
        stream
            .arguments()
            .region(logits)
            .region(Region.ofNullable(weights.correctionBias()))
            .region(Region.ofNullable(a.tokenCount()))
            .region(scratch.at(plan.ids))
            .region(scratch.at(plan.weights));
    putOutput(arguments, a.ids());
    putOutput(arguments, saved == null ? null : saved.ids());
    putOutput(arguments, a.routingWeights());
    putOutput(arguments, saved == null ? null : saved.routingWeights());
    putOutput(arguments, a.logits());
    putOutput(arguments, saved == null ? null : saved.logits());
    arguments
        .value(logitPitch)
        .value(tokens)
        .value(spec.experts())
        .value(spec.topK())
        .value(MoeCodes.score(router.score()))
        .value(router.groups())
        .value(router.topkGroups())
        .value(router.groupScore() == GroupScore.TOP2_SUM ? 1 : 0)
        .value(MoeCodes.normalize(router.normalize()))
        .value(router.epsilon())
        .value(router.scalingFactor());
    stream.dispatch(route, tokens, 1, 1, ROUTE_GROUP);
  }

  private static void putOutput(Arguments arguments, @Nullable Tensor tensor) {
    arguments.region(Region.ofNullable(tensor)).value(MoeCodes.pitch(tensor));
  }
}
