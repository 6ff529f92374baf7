package dev.weft.conformance.device;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Side;
import dev.weft.moe.MoeBinding;
import dev.weft.moe.MoeDispatch;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeWeights;
import java.util.List;
import java.util.function.Function;

/** MoE dispatch with a softmax router over eight experts; its one length is the token count. */
final class MoeWorkload extends Workload<MoeDispatch> {
  private static final int HIDDEN = 32;
  private static final int INTERMEDIATE = 24;
  private static final int EXPERTS = 8;
  private static final int TOP_K = 2;

  @Override
  String name() {
    return "moe";
  }

  @Override
  MoeDispatchSpec spec() {
    return MoeDispatchSpec.builder()
        .dataType(TYPE)
        .hidden(HIDDEN)
        .intermediate(INTERMEDIATE)
        .experts(EXPERTS)
        .topK(TOP_K)
        .modes(MoeDispatchSpec.Mode.FORWARD)
        .build();
  }

  @Override
  Sample<MoeDispatch> sample(CaseContext c, String prefix, int... lengths) {
    return new MoeSample(c, prefix, lengths);
  }

  private final class MoeSample extends Sample<MoeDispatch> {
    private final Operand gateUp;
    private final Operand down;
    private final Operand router;
    private final Operand x;
    private final Operand tokenCount;
    private final Operand y;
    private final Operand ids;

    MoeSample(CaseContext c, String prefix, int... lengths) {
      super(c, prefix, lengths);
      long tokens = limits.tokens();
      gateUp = c.tensor(prefix + "gateUp", TYPE, EXPERTS, 2 * INTERMEDIATE, HIDDEN).input();
      down = c.tensor(prefix + "down", TYPE, EXPERTS, HIDDEN, INTERMEDIATE).input();
      router = c.tensor(prefix + "routerWeight", spec().routerType(), EXPERTS, HIDDEN).input();
      x =
          c.tensor(prefix + "x", TYPE, tokens, HIDDEN)
              .values(c.testCase().family().draws().rows(tokens - PADDING, tokens, Double.NaN))
              .input();
      tokenCount = c.ints(prefix + "tokenCount", sum(lengths));
      y = c.tensor(prefix + "y", TYPE, tokens, HIDDEN).output();
      ids = c.tensor(prefix + "ids", DataType.I32, tokens, TOP_K).output();
    }

    private MoeBinding bind(MoeDispatch kernel, Function<Operand, Tensor> on) {
      return kernel.bind(
          MoeWeights.of(on.apply(down)).gateUp(on.apply(gateUp)).routerWeight(on.apply(router)));
    }

    private MoeForward arguments(MoeBinding weights, Function<Operand, Tensor> on) {
      return MoeForward.of(weights, on.apply(x), on.apply(y))
          .tokenCount(on.apply(tokenCount))
          .ids(on.apply(ids));
    }

    @Override
    Launchable launchable(MoeDispatch kernel, Function<Operand, Tensor> on) {
      MoeBinding weights = bind(kernel, on);
      MoeForward a = arguments(weights, on);
      return new Launchable(weights, stream -> kernel.forward(stream, a));
    }

    @Override
    void check() {
      Side r = c.reference();
      MoeBinding weights = r.once(prefix + "weights", () -> bind(r.prepare(spec()), r::of));
      MoeForward a = arguments(weights, r::of);
      Tensor reported = c.keep(r.device().upload(c.read(ids)));
      c.requireNoFault(c.oracle().moeSelectionFault(spec(), a, reported));
      c.check(y, c.oracle().moeForward(spec(), a, reported).get("y"));
    }

    @Override
    List<Operand> operands() {
      return List.of(gateUp, down, router, x, tokenCount, y, ids);
    }

    @Override
    List<Operand> outputs() {
      return List.of(y, ids);
    }

    @Override
    Operand input() {
      return x;
    }

    @Override
    Operand lengths() {
      return tokenCount;
    }

    @Override
    HostTensor lengthValues(int... lengths) {
      return HostTensor.ofInts(new int[] {sum(lengths)}, 1);
    }
  }
}
