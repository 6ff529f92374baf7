package dev.weft.conformance.moba;

import static dev.weft.DataType.BF16;
import static dev.weft.DataType.F16;
import static dev.weft.DataType.F32;
import static dev.weft.DataType.I32;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.Family;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Placement;
import dev.weft.conformance.Profile;
import dev.weft.conformance.Side;
import dev.weft.conformance.Values;
import dev.weft.moba.MobaAttention;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.spi.Expected;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * MoBA backward. What forward wrote comes from the reference, so that a wrong forward is not blamed
 * on backward.
 */
final class MobaBackwardCases {
  private static final DataType[] ALL = {F32, F16, BF16};

  private final List<ConformanceCase> cases = new ArrayList<>();

  /** What becomes of the selection that forward wrote. */
  private enum Given {
    SELECTION,
    NONE,
    /** Its unused slots hold blocks that do not count: out of range, future, the query's own. */
    GARBAGE
  }

  static List<ConformanceCase> list() {
    MobaBackwardCases backward = new MobaBackwardCases();
    backward.shapes();
    backward.values();
    backward.options();
    backward.wholeTiles();
    backward.farRows();
    return backward.cases;
  }

  private void shapes() {
    random("ragged", t -> new MobaSetup(t, 4, 2, 64, 32, 3, 90, 1, 33, 130), ALL);
    random("mqa", t -> new MobaSetup(t, 4, 1, 128, 64, 3, 260), F32, BF16);
    random("block-1", t -> new MobaSetup(t, 2, 2, 8, 1, 3, 70, 9), F32);
    random("top-65", t -> new MobaSetup(t, 1, 1, 16, 1, 65, 130), F16);
    random("block-96", t -> new MobaSetup(t, 2, 1, 40, 96, 2, 250), BF16);
    random("block-31", t -> new MobaSetup(t, 2, 1, 80, 31, 3, 130), F32);
    random("block-33", t -> new MobaSetup(t, 2, 2, 96, 33, 3, 140), F16);
    random("block-129", t -> new MobaSetup(t, 1, 1, 256, 129, 2, 300), F32);
    random("wide-keys", t -> new MobaSetup(t, 2, 1, 192, 32, 3, 120).valueDim(128), F32, BF16);
    random("wide-values", t -> new MobaSetup(t, 2, 2, 8, 16, 3, 80).valueDim(256), F16);
    random("65-blocks", t -> new MobaSetup(t, 2, 1, 64, 8, 4, 520), F32);
    random("own-block-only", t -> new MobaSetup(t, 4, 2, 64, 32, 1, 90, 31), BF16);
    random("group-of-12", t -> new MobaSetup(t, 12, 1, 32, 16, 3, 90), F32);
    random("length-1", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 1, 1), F32);
    random("block-and-1", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 17), F16);
    random("empty-sequences", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 0, 40, 0, 17, 0), F32);
    random("no-sequences", t -> new MobaSetup(t, 2, 1, 64, 16, 3).padding(7), F32);
    random("no-rows", t -> new MobaSetup(t, 2, 1, 64, 16, 3).padding(0), F32);
    random("long", t -> new MobaSetup(t, 2, 1, 64, 128, 3, 900), F32, BF16);
    random("scale-0", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 60).scale(0), F32);
    random("scale-given", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 60).scale(-0.3), F16);
  }

  private void values() {
    Function<DataType, MobaSetup> plain = t -> new MobaSetup(t, 4, 2, 64, 16, 3, 70, 30);
    add("plain", Family.RAMP, plain, Given.SELECTION, F32);
    add("plain", Family.TIES, plain, Given.SELECTION, F32, BF16);
    add("plain", Family.TINY, plain, Given.SELECTION, F32, F16);
    add("scores-1e4", Family.LARGE, plain, Given.SELECTION, F32, BF16);
    adversarial("logits-40", t -> plain.apply(t).q(Values.normal(13)), F32, F16);
    adversarial(
        "all-equal",
        t -> plain.apply(t).q(Values.constant(0.7)).k(Values.constant(0.3)),
        F32,
        BF16);
    adversarial(
        "one-block-wanted-by-all",
        t ->
            new MobaSetup(t, 4, 2, 64, 16, 2, 400)
                .q(Values.uniform(0.5, 1))
                .k(Values.normal(0.1).rows(32, 48, 1)),
        F32,
        BF16);
    double nan = Double.NaN;
    adversarial(
        "nan-block",
        t ->
            new MobaSetup(t, 4, 2, 64, 16, 3, 30, 110)
                .q(Values.uniform(0.5, 1))
                .k(Values.normal(1).rows(65, 66, nan))
                .v(Values.normal(1).rows(62, 78, nan)),
        F32,
        BF16);
    // Rows ahead of a NaN in their own block do not see it, keys behind it are not seen by it.
    adversarial("nan-key", t -> plain.apply(t).k(Values.normal(1).rows(52, 53, nan)), ALL);
    adversarial("nan-query", t -> plain.apply(t).q(Values.normal(1).rows(52, 53, nan)), ALL);
    adversarial(
        "nan-neighbour",
        t ->
            new MobaSetup(t, 2, 1, 64, 16, 3, 30, 60, 40)
                .q(Values.normal(1).rows(30, 90, nan))
                .k(Values.normal(1).rows(30, 90, nan))
                .v(Values.normal(1).rows(30, 90, Double.POSITIVE_INFINITY)),
        F32,
        F16);
  }

  private void options() {
    Function<DataType, MobaSetup> plain = t -> new MobaSetup(t, 4, 2, 64, 16, 3, 70, 30);
    random("dq-only", t -> plain.apply(t).gradients(true, false, false), F32);
    random("dk-only", t -> plain.apply(t).gradients(false, true, false), BF16);
    random("dv-only", t -> plain.apply(t).gradients(false, false, true), F16);
    random("packed", t -> plain.apply(t).packed(), F32, BF16);
    random("pitched", t -> plain.apply(t).place(Placement.PITCHED), F32);
    random("misaligned", t -> plain.apply(t).place(Placement.MISALIGNED), F32, BF16);
    random("workspace-limit", t -> new MobaSetup(t, 8, 4, 32, 8, 3, 100).workspaceLimit(1), F32);
    random("faster", t -> plain.apply(t).unrepeatable(), F32, BF16);
    add(
        "no-selection",
        Family.RANDOM,
        t -> new MobaSetup(t, 4, 2, 64, 16, 8, 60, 30),
        Given.NONE,
        F32,
        BF16);
    add("garbage-selection", Family.RANDOM, plain, Given.GARBAGE, F32);
  }

  /** Blocks of a multiple of 128 tokens and rows of 64 or 128 columns, as forward's cases have. */
  private void wholeTiles() {
    DataType[] half = {BF16, F16};
    random("tiles-ragged", t -> new MobaSetup(t, 2, 1, 128, 128, 3, 400, 130, 1), half);
    random("tiles-of-2", t -> new MobaSetup(t, 2, 1, 64, 256, 3, 700, 0, 200), BF16);
    random("tiles-of-4", t -> new MobaSetup(t, 1, 1, 128, 512, 2, 1030), F16);
    random("tiles-of-4-narrow", t -> new MobaSetup(t, 1, 1, 64, 512, 2, 600, 513), BF16);
    random("tiles-own-block-only", t -> new MobaSetup(t, 4, 2, 128, 128, 1, 260, 31), BF16);
    random("tiles-top-6", t -> new MobaSetup(t, 2, 1, 64, 128, 6, 900), BF16);
    random("tiles-group-of-12", t -> new MobaSetup(t, 12, 1, 64, 128, 2, 300), BF16);
    random("tiles-short", t -> new MobaSetup(t, 2, 1, 64, 128, 2, 63, 64, 65, 127, 129), F16);
    random("tiles-scale-0", t -> new MobaSetup(t, 2, 1, 64, 128, 3, 400).scale(0), F16);
    random("tiles-scale-negative", t -> new MobaSetup(t, 2, 1, 64, 128, 3, 400).scale(-0.2), BF16);
    random("tiles-packed", t -> new MobaSetup(t, 4, 2, 64, 128, 3, 400).packed(), F16);
    random(
        "tiles-pitched",
        t -> new MobaSetup(t, 2, 1, 128, 128, 3, 300).place(Placement.PITCHED),
        BF16);
    random(
        "tiles-misaligned",
        t -> new MobaSetup(t, 4, 2, 64, 128, 3, 300).place(Placement.MISALIGNED),
        BF16);
    random(
        "tiles-workspace-limit",
        t -> new MobaSetup(t, 8, 4, 64, 128, 3, 280, 60).workspaceLimit(1),
        BF16);
    random("tiles-much-padding", t -> new MobaSetup(t, 2, 1, 64, 128, 3, 390).padding(700), BF16);
    Function<DataType, MobaSetup> plain = t -> new MobaSetup(t, 4, 2, 64, 128, 2, 260, 140);
    random("tiles-dq-only", t -> plain.apply(t).gradients(true, false, false), BF16);
    random("tiles-dk-only", t -> plain.apply(t).gradients(false, true, false), F16);
    random("tiles-dv-only", t -> plain.apply(t).gradients(false, false, true), BF16);
    random("tiles-faster", t -> plain.apply(t).unrepeatable(), BF16);
    add("tiles-ties", Family.TIES, plain, Given.SELECTION, half);
    add("tiles-ramp", Family.RAMP, plain, Given.SELECTION, BF16);
    add("tiles-tiny", Family.TINY, plain, Given.SELECTION, F16);
    adversarial("tiles-logits-40", t -> plain.apply(t).q(Values.normal(13)), half);
    add("tiles-garbage-selection", Family.RANDOM, plain, Given.GARBAGE, BF16);
    add(
        "tiles-no-selection",
        Family.RANDOM,
        t -> new MobaSetup(t, 4, 2, 64, 128, 4, 400, 30),
        Given.NONE,
        BF16);
    tileValues(half);
  }

  private void tileValues(DataType... half) {
    double nan = Double.NaN;
    adversarial(
        "tiles-one-block-wanted-by-all",
        t ->
            new MobaSetup(t, 2, 1, 64, 128, 2, 500)
                .q(Values.uniform(0.5, 1))
                .k(Values.normal(0.1).rows(128, 256, 1)),
        BF16);
    Function<DataType, MobaSetup> three =
        t -> new MobaSetup(t, 2, 1, 64, 128, 3, 112, 400, 60).q(Values.uniform(0.5, 1));
    adversarial(
        "tiles-nan-block",
        t ->
            three
                .apply(t)
                .k(Values.normal(1).rows(243, 246, nan))
                .v(Values.normal(1).rows(240, 368, nan)),
        F16);
    // Rows before 300 do not see it, those of the same block from there on do.
    adversarial(
        "tiles-nan-value-unselected",
        t ->
            three
                .apply(t)
                .k(Values.normal(1).rows(240, 368, -4))
                .v(Values.normal(1).rows(300, 301, nan)),
        half);
    adversarial(
        "tiles-inf-unselected",
        t ->
            three
                .apply(t)
                .k(Values.normal(1).rows(240, 368, -4))
                .v(Values.normal(1).rows(300, 301, Double.POSITIVE_INFINITY)),
        BF16);
    adversarial(
        "tiles-nan-neighbour",
        t ->
            three
                .apply(t)
                .q(Values.normal(1).rows(112, 512, nan))
                .k(Values.normal(1).rows(112, 512, nan))
                .v(Values.normal(1).rows(112, 512, Double.POSITIVE_INFINITY)),
        F16);
    // Rows ahead of it, of the same block, do not see it.
    adversarial("tiles-nan-key", t -> three.apply(t).k(Values.normal(1).rows(300, 301, nan)), half);
    // Keys behind it, of the same block, are not seen by it.
    adversarial(
        "tiles-nan-query", t -> three.apply(t).q(Values.normal(1).rows(400, 401, nan)), BF16);
  }

  private void farRows() {
    String feature = "beyond-2e32-elements";
    random(feature, t -> new MobaSetup(t, 4, 2, 64, 32, 3, 90, 1, 33, 130).far(), F32, BF16);
    random(feature, t -> new MobaSetup(t, 2, 1, 128, 128, 3, 400, 130).far(), BF16);
  }

  private void random(String feature, Function<DataType, MobaSetup> setup, DataType... types) {
    add(feature, Family.RANDOM, setup, Given.SELECTION, types);
  }

  private void adversarial(String feature, Function<DataType, MobaSetup> setup, DataType... types) {
    add(feature, Family.ADVERSARIAL, setup, Given.SELECTION, types);
  }

  private void add(
      String feature,
      Family family,
      Function<DataType, MobaSetup> setups,
      Given given,
      DataType... types) {
    for (DataType type : types) {
      MobaSetup setup = setups.apply(type);
      MobaAttentionSpec spec = setup.spec(Mode.BACKWARD);
      cases.add(
          ConformanceCase.of("moba.backward", type, setup.sizes(), feature, family)
              .placement(setup.placement)
              .profiles(Profile.TRAINING)
              .profiles(setup.profiles)
              .flops(setup.flops() * 5 / 2)
              .spec(spec)
              .runs(c -> backward(c, setup, spec, given)));
    }
  }

  private static void backward(
      CaseContext c, MobaSetup setup, MobaAttentionSpec spec, Given given) {
    MobaSetup.Inputs inputs = setup.draw(c);
    Forward forward = Forward.byReference(c, setup, inputs);
    if (given == Given.GARBAGE) {
      forward.spoil(setup);
    }
    Operand out = setup.outTensor(c).host(forward.out).input();
    Operand lse = setup.lseTensor(c).host(forward.lse).input();
    Operand selection =
        given == Given.NONE ? null : setup.selectionTensor(c).host(forward.selection).input();
    Operand dout =
        setup
            .gradient(c, "dout", c.testCase().family().draws(), setup.heads, setup.valueDim)
            .input();
    Gradients gradients = Gradients.make(c, setup);
    Function<Side, MobaBackward> arguments =
        s ->
            MobaBackward.of(
                    s.of(inputs.q()),
                    s.of(inputs.k()),
                    s.of(inputs.v()),
                    s.of(inputs.cuSeqlens()),
                    s.of(out),
                    s.of(lse),
                    s.of(dout))
                .selection(s.ofNullable(selection))
                .dq(s.ofNullable(gradients.dq))
                .dk(s.ofNullable(gradients.dk))
                .dv(s.ofNullable(gradients.dv));
    MobaAttention moba = c.tested().prepare(spec);
    MobaBackward a = arguments.apply(c.tested());
    if (spec.repeatableBackward()) {
      c.launch(stream -> moba.backward(stream, a));
    } else {
      c.launchOnce(stream -> moba.backward(stream, a));
    }
    Map<String, Expected> expected = c.oracle().mobaBackward(spec, arguments.apply(c.reference()));
    check(c, gradients.dq, expected.get("dq"));
    check(c, gradients.dk, expected.get("dk"));
    check(c, gradients.dv, expected.get("dv"));
  }

  private static void check(CaseContext c, @Nullable Operand got, @Nullable Expected expected) {
    if (got != null) {
      c.check(got, expected);
    }
  }

  private record Gradients(@Nullable Operand dq, @Nullable Operand dk, @Nullable Operand dv) {
    static Gradients make(CaseContext c, MobaSetup setup) {
      CaseContext.TensorOf q = of(c, setup, "dq", setup.heads, setup.dim);
      CaseContext.TensorOf k = of(c, setup, "dk", setup.kvHeads, setup.dim);
      CaseContext.TensorOf v = of(c, setup, "dv", setup.kvHeads, setup.valueDim);
      if (setup.packed) {
        List<Operand> parts = c.packOutputs(q, k, v);
        return new Gradients(parts.get(0), parts.get(1), parts.get(2));
      }
      return new Gradients(
          setup.dq ? q.output() : null, setup.dk ? k.output() : null, setup.dv ? v.output() : null);
    }

    private static CaseContext.TensorOf of(
        CaseContext c, MobaSetup setup, String name, int heads, int width) {
      return c.tensor(name, setup.type, setup.tokens(), heads, width);
    }
  }

  /** What forward wrote, with NaN and garbage in the padding. */
  private record Forward(HostTensor out, HostTensor lse, HostTensor selection) {
    static Forward byReference(CaseContext c, MobaSetup setup, MobaSetup.Inputs inputs) {
      Side side = c.reference();
      Tensor out =
          c.keep(side.device().allocate(setup.type, setup.tokens(), setup.heads, setup.valueDim));
      Tensor lse = c.keep(side.device().allocate(F32, setup.tokens(), setup.heads));
      Tensor selection =
          c.keep(side.device().allocate(I32, setup.tokens(), setup.heads, setup.topK - 1));
      Stream stream = side.device().defaultStream();
      side.prepare(setup.spec(Mode.FORWARD))
          .forward(
              stream,
              MobaForward.of(
                      side.of(inputs.q()),
                      side.of(inputs.k()),
                      side.of(inputs.v()),
                      side.of(inputs.cuSeqlens()),
                      out)
                  .lse(lse)
                  .selection(selection));
      stream.synchronize();
      Forward forward = new Forward(out.download(), lse.download(), selection.download());
      forward.pad(forward.out, setup, Double.NaN);
      forward.pad(forward.lse, setup, Double.NaN);
      forward.pad(forward.selection, setup, 12345678);
      return forward;
    }

    private void pad(HostTensor tensor, MobaSetup setup, double value) {
      long width = setup.tokens() == 0 ? 0 : tensor.elements() / setup.tokens();
      for (long i = setup.used() * width; i < tensor.elements(); i++) {
        tensor.set(i, value);
      }
    }

    void spoil(MobaSetup setup) {
      int row = 0;
      for (int length : setup.lengths) {
        for (int position = 0; position < length; position++, row++) {
          int own = position / setup.block;
          int[] garbage = {own, own + 1, -7, Integer.MAX_VALUE, Integer.MIN_VALUE};
          long first = (long) row * setup.heads * (setup.topK - 1);
          for (int i = 0; i < setup.heads * (setup.topK - 1); i++) {
            if (selection.get(first + i) == -1) {
              selection.set(first + i, garbage[(row + i) % garbage.length]);
            }
          }
        }
      }
    }
  }
}
