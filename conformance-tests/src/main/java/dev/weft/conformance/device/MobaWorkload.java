package dev.weft.conformance.device;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.Operand;
import dev.weft.moba.MobaAttention;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaForward;
import java.util.List;
import java.util.function.Function;

/** MoBA attention with grouped heads and more blocks than are selected. */
final class MobaWorkload extends Workload<MobaAttention> {
  private static final int HEADS = 4;
  private static final int KV_HEADS = 2;
  private static final int DIM = 16;
  private static final int TOP_K = 2;

  @Override
  String name() {
    return "moba";
  }

  @Override
  MobaAttentionSpec spec() {
    return MobaAttentionSpec.builder()
        .dataType(TYPE)
        .heads(HEADS)
        .kvHeads(KV_HEADS)
        .headDim(DIM)
        .blockSize(8)
        .topK(TOP_K)
        .modes(MobaAttentionSpec.Mode.FORWARD)
        .build();
  }

  @Override
  Sample<MobaAttention> sample(CaseContext c, String prefix, int... lengths) {
    return new MobaSample(c, prefix, lengths);
  }

  private final class MobaSample extends Sample<MobaAttention> {
    private final Operand q;
    private final Operand k;
    private final Operand v;
    private final Operand cuSeqlens;
    private final Operand out;
    private final Operand lse;
    private final Operand selection;

    MobaSample(CaseContext c, String prefix, int... lengths) {
      super(c, prefix, lengths);
      long tokens = limits.tokens();
      q = rows("q", HEADS);
      k = rows("k", KV_HEADS);
      v = rows("v", KV_HEADS);
      cuSeqlens = c.ints(prefix + "cuSeqlens", cuSeqlens(lengths));
      out = c.tensor(prefix + "out", TYPE, tokens, HEADS, DIM).output();
      lse = c.tensor(prefix + "lse", DataType.F32, tokens, HEADS).output();
      selection = c.tensor(prefix + "selection", DataType.I32, tokens, HEADS, TOP_K - 1).output();
    }

    private Operand rows(String name, int heads) {
      long tokens = limits.tokens();
      return c.tensor(prefix + name, TYPE, tokens, heads, DIM)
          .values(c.testCase().family().draws().rows(tokens - PADDING, tokens, Double.NaN))
          .input();
    }

    @Override
    Launchable launchable(MobaAttention kernel, Function<Operand, Tensor> on) {
      MobaForward a = arguments(on);
      return new Launchable(null, stream -> kernel.forward(stream, a));
    }

    private MobaForward arguments(Function<Operand, Tensor> on) {
      return MobaForward.of(
              on.apply(q), on.apply(k), on.apply(v), on.apply(cuSeqlens), on.apply(out))
          .lse(on.apply(lse))
          .selection(on.apply(selection));
    }

    @Override
    void check() {
      MobaForward a = arguments(c.reference()::of);
      Tensor reported = c.keep(c.reference().device().upload(c.read(selection)));
      c.requireNoFault(c.oracle().mobaSelectionFault(spec(), a, reported));
      var expected = c.oracle().mobaForward(spec(), a, reported);
      c.check(out, expected.get("out"));
      c.check(lse, expected.get("lse"));
    }

    @Override
    List<Operand> operands() {
      return List.of(q, k, v, cuSeqlens, out, lse, selection);
    }

    @Override
    List<Operand> outputs() {
      return List.of(out, lse, selection);
    }

    @Override
    Operand input() {
      return q;
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
