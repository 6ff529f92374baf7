package dev.weft.conformance.device;

import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Side;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1d;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;
import java.util.List;
import java.util.function.Function;

/** A causal convolution with bias and SiLU. */
final class ConvWorkload extends Workload<CausalConv1d> {
  private static final int CHANNELS = 24;
  private static final int WIDTH = 4;

  @Override
  String name() {
    return "conv1d";
  }

  @Override
  CausalConv1dSpec spec() {
    return CausalConv1dSpec.builder()
        .dataType(TYPE)
        .channels(CHANNELS)
        .width(WIDTH)
        .bias(true)
        .activation(Activation.SILU)
        .modes(CausalConv1dSpec.Mode.FORWARD)
        .build();
  }

  @Override
  Sample<CausalConv1d> sample(CaseContext c, String prefix, int... lengths) {
    return new ConvSample(c, prefix, lengths);
  }

  private final class ConvSample extends Sample<CausalConv1d> {
    private final Operand weight;
    private final Operand bias;
    private final Operand x;
    private final Operand cuSeqlens;
    private final Operand out;

    ConvSample(CaseContext c, String prefix, int... lengths) {
      super(c, prefix, lengths);
      long tokens = limits.tokens();
      weight = c.tensor(prefix + "weight", TYPE, CHANNELS, WIDTH).input();
      bias = c.tensor(prefix + "bias", TYPE, CHANNELS).input();
      x =
          c.tensor(prefix + "x", TYPE, tokens, CHANNELS)
              .values(c.testCase().family().draws().rows(tokens - PADDING, tokens, Double.NaN))
              .input();
      cuSeqlens = c.ints(prefix + "cuSeqlens", cuSeqlens(lengths));
      out = c.tensor(prefix + "out", TYPE, tokens, CHANNELS).output();
    }

    @Override
    Launchable launchable(CausalConv1d kernel, Function<Operand, Tensor> on) {
      Conv1dBinding weights = kernel.bind(on.apply(weight), on.apply(bias));
      Conv1dForward a = Conv1dForward.of(weights, on.apply(x), on.apply(cuSeqlens), on.apply(out));
      return new Launchable(weights, stream -> kernel.forward(stream, a));
    }

    @Override
    void check() {
      Side r = c.reference();
      Conv1dBinding weights =
          r.once(prefix + "weights", () -> r.prepare(spec()).bind(r.of(weight), r.of(bias)));
      Conv1dForward a = Conv1dForward.of(weights, r.of(x), r.of(cuSeqlens), r.of(out));
      c.check(out, c.oracle().conv1dForward(spec(), a).get("out"));
    }

    @Override
    List<Operand> operands() {
      return List.of(weight, bias, x, cuSeqlens, out);
    }

    @Override
    List<Operand> outputs() {
      return List.of(out);
    }

    @Override
    Operand input() {
      return x;
    }

    @Override
    Operand lengths() {
      return cuSeqlens;
    }

    @Override
    HostTensor lengthValues(int... lengths) {
      return HostTensor.ofInts(cuSeqlens(lengths), lengths.length + 1);
    }
  }
}
