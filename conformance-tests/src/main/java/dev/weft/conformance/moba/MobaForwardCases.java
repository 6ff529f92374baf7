package dev.weft.conformance.moba;

import static dev.weft.DataType.BF16;
import static dev.weft.DataType.F16;
import static dev.weft.DataType.F32;

import dev.weft.DataType;
import dev.weft.Graph;
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
import dev.weft.moba.MobaForward;
import dev.weft.spi.Expected;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** MoBA forward on packed sequences. */
final class MobaForwardCases {
  private static final DataType[] ALL = {F32, F16, BF16};

  private final List<ConformanceCase> cases = new ArrayList<>();

  static List<ConformanceCase> list() {
    MobaForwardCases forward = new MobaForwardCases();
    forward.shapes();
    forward.batches();
    forward.values();
    forward.poison();
    forward.exact();
    forward.layouts();
    forward.hazards();
    forward.wholeTiles();
    forward.farRows();
    return forward.cases;
  }

  private void shapes() {
    random("ragged", t -> new MobaSetup(t, 4, 2, 64, 32, 3, 100, 1, 33, 200), ALL);
    random("mqa", t -> new MobaSetup(t, 4, 1, 128, 64, 4, 330), ALL);
    random("block-1", t -> new MobaSetup(t, 2, 2, 8, 1, 3, 70, 9), F32, BF16);
    random("top-65", t -> new MobaSetup(t, 1, 1, 16, 1, 65, 150), F32);
    random("top-65-wide", t -> new MobaSetup(t, 2, 1, 32, 4, 65, 320), BF16);
    random("block-96", t -> new MobaSetup(t, 2, 2, 40, 96, 2, 300, 96), F32, BF16);
    random("block-31", t -> new MobaSetup(t, 2, 1, 80, 31, 3, 160), F16);
    random("block-33", t -> new MobaSetup(t, 2, 2, 96, 33, 3, 170), F32);
    random("block-63", t -> new MobaSetup(t, 2, 1, 128, 63, 2, 260), BF16);
    random("block-65", t -> new MobaSetup(t, 2, 1, 128, 65, 2, 270), F32);
    random("block-127", t -> new MobaSetup(t, 1, 1, 192, 127, 2, 390), BF16);
    random("block-129", t -> new MobaSetup(t, 1, 1, 256, 129, 2, 390), F32);
    random("block-15", t -> new MobaSetup(t, 3, 3, 24, 15, 4, 100), F32);
    random("block-17", t -> new MobaSetup(t, 3, 1, 48, 17, 4, 100), F16);
    random("dim-256", t -> new MobaSetup(t, 2, 1, 256, 64, 3, 260), BF16, F16);
    random("dim-192", t -> new MobaSetup(t, 2, 1, 192, 32, 3, 130), F16);
    random("wide-keys", t -> new MobaSetup(t, 2, 1, 192, 32, 3, 150).valueDim(128), F32, BF16);
    random("wide-values", t -> new MobaSetup(t, 2, 2, 8, 16, 3, 100).valueDim(256), F32);
    random("narrow-values", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 100).valueDim(8), F16);
    random("65-blocks", t -> new MobaSetup(t, 2, 1, 64, 8, 4, 520), F32, BF16);
    random("40-blocks-top-9", t -> new MobaSetup(t, 1, 1, 32, 16, 9, 640), BF16);
    random("own-block-only", t -> new MobaSetup(t, 4, 2, 64, 32, 1, 100, 31), F32, BF16);
    random("fewer-blocks-than-top", t -> new MobaSetup(t, 4, 2, 64, 32, 8, 150, 20), F32, F16);
    random("as-many-blocks-as-top", t -> new MobaSetup(t, 2, 1, 64, 32, 5, 160), F32);
    random("one-block", t -> new MobaSetup(t, 2, 1, 64, 128, 3, 100), F32);
    random("group-of-12", t -> new MobaSetup(t, 12, 1, 32, 16, 3, 90), F32);
    random("scale-given", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 90).scale(0.3), BF16);
    random("scale-negative", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 90).scale(-0.2), F32);
    random("scale-0", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 90).scale(0), F32, F16);
    random("long", t -> new MobaSetup(t, 2, 1, 64, 128, 4, 1400, 600), F32, BF16);
  }

  private void batches() {
    random("length-1", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 1), F32, BF16);
    random("block-and-1", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 17, 33), F32, F16);
    random(
        "empty-sequences", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 0, 40, 0, 0, 17, 0), F32, BF16);
    random("no-sequences", t -> new MobaSetup(t, 2, 1, 64, 16, 3).padding(7), F32);
    random("no-rows", t -> new MobaSetup(t, 2, 1, 64, 16, 3).padding(0), F32);
    random("only-empty", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 0, 0).padding(0), F32);
    random("no-padding", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 50, 64).padding(0), BF16);
    random("much-padding", t -> new MobaSetup(t, 2, 1, 64, 16, 3, 50).padding(300), F32);
    random(
        "65537-sequences",
        t -> {
          int[] lengths = new int[65537];
          Arrays.fill(lengths, 1);
          return new MobaSetup(t, 1, 1, 8, 1, 2, lengths);
        },
        F32);
    random("65537-own-blocks", t -> new MobaSetup(t, 1, 1, 8, 1, 1, 65537), F32);
    random(
        "65537-blocks", t -> new MobaSetup(t, 1, 1, 8, 1, 2, 65537).profiles(Profile.LARGE), F32);
  }

  private void values() {
    Function<DataType, MobaSetup> plain = t -> new MobaSetup(t, 4, 2, 64, 16, 3, 90, 40);
    add("plain", Family.RAMP, plain, F32, BF16);
    add("plain", Family.TIES, plain, ALL);
    add("plain", Family.TINY, plain, F32, F16);
    // Scores of about 64 * 64: the largest beyond 1e4.
    add("scores-1e4", Family.LARGE, plain, ALL);
    add(
        "logits-40",
        Family.ADVERSARIAL,
        t -> plain.apply(t).q(Values.normal(1).times(13)),
        F32,
        BF16);
    add(
        "all-equal",
        Family.ADVERSARIAL,
        t -> plain.apply(t).q(Values.constant(0.7)).k(Values.constant(0.3)),
        F32,
        F16);
    add(
        "one-block-wanted-by-all",
        Family.ADVERSARIAL,
        t ->
            new MobaSetup(t, 4, 2, 64, 16, 3, 200)
                .q(Values.uniform(0.5, 1))
                .k(Values.normal(0.1).rows(32, 48, 1)),
        F32,
        BF16);
    add(
        "increasing-scores",
        Family.ADVERSARIAL,
        t ->
            new MobaSetup(t, 2, 1, 8, 4, 5, 300)
                .q(Values.uniform(0.5, 1))
                .k(Values.each((draw, i) -> Math.floor(i / 64.0) / 128)),
        F32);
  }

  /** NaN and infinities where nothing may read them, or where they may come last. */
  private void poison() {
    double nan = Double.NaN;
    double infinity = Double.POSITIVE_INFINITY;
    Function<DataType, MobaSetup> plain =
        t -> new MobaSetup(t, 4, 2, 64, 16, 3, 30, 120, 50).q(Values.uniform(0.5, 1));
    // A NaN key makes its block's mean NaN: nobody but its own queries reads it.
    add(
        "nan-block",
        Family.ADVERSARIAL,
        t ->
            plain
                .apply(t)
                .k(Values.normal(1).rows(65, 66, nan))
                .v(Values.normal(1).rows(62, 78, nan)),
        ALL);
    add(
        "nan-value-unselected",
        Family.ADVERSARIAL,
        t ->
            plain
                .apply(t)
                .k(Values.normal(1).rows(62, 78, -4))
                .v(Values.normal(1).rows(70, 71, nan)),
        F32,
        BF16);
    add(
        "inf-unselected",
        Family.ADVERSARIAL,
        t ->
            plain
                .apply(t)
                .k(Values.normal(1).rows(62, 78, -infinity))
                .v(Values.normal(1).rows(62, 78, infinity)),
        F32,
        F16);
    add(
        "nan-neighbour",
        Family.ADVERSARIAL,
        t ->
            plain
                .apply(t)
                .q(Values.normal(1).rows(30, 150, nan))
                .k(Values.normal(1).rows(30, 150, nan))
                .v(Values.normal(1).rows(30, 150, infinity)),
        F32,
        BF16);
    add(
        "nan-query",
        Family.ADVERSARIAL,
        t -> plain.apply(t).q(Values.normal(1).rows(100, 101, nan)),
        F32);
    // Where a row has to select such a block, its weight is 0, and 0 times infinity is NaN.
    add(
        "inf-selected",
        Family.ADVERSARIAL,
        t ->
            new MobaSetup(t, 4, 2, 64, 16, 3, 60)
                .q(Values.uniform(0.5, 1))
                .k(Values.normal(1).rows(1, 16, -infinity))
                .v(Values.normal(1).rows(1, 16, infinity)),
        F32,
        F16);
    // More NaN blocks than others: the choice among them goes by index.
    add(
        "nan-blocks-needed",
        Family.ADVERSARIAL,
        t -> new MobaSetup(t, 2, 1, 16, 8, 4, 80).k(Values.normal(1).rows(16, 64, nan)),
        F32);
  }

  private void exact() {
    for (DataType type : ALL) {
      add("selection", Family.EXACT, t -> new MobaSetup(t, 4, 2, 64, 16, 3, 150, 64), type);
      add("selection-many-ties", Family.EXACT, t -> new MobaSetup(t, 2, 1, 8, 2, 9, 160), type);
      add(
          "even-weights",
          Family.EXACT,
          t -> evenWeights(new MobaSetup(t, 2, 1, 32, 16, 4, 130, 64)),
          type);
      add(
          "even-weights-block-1",
          Family.EXACT,
          t -> evenWeights(new MobaSetup(t, 2, 1, 8, 1, 8, 60)),
          type);
    }
    add(
        "out-only",
        Family.EXACT,
        t -> new MobaSetup(t, 4, 2, 64, 16, 3, 150).outputs(false, false),
        F32,
        BF16);
    add(
        "lse-only",
        Family.EXACT,
        t -> new MobaSetup(t, 2, 1, 64, 16, 3, 90).outputs(true, false),
        F32);
    add(
        "no-lse",
        Family.EXACT,
        t -> new MobaSetup(t, 2, 1, 64, 16, 3, 90).outputs(false, true),
        F32);
  }

  /** Zero queries: all keys weigh the same, and a mean of 2^m values is exact. */
  private static MobaSetup evenWeights(MobaSetup setup) {
    return setup.q(Values.constant(0)).v(Values.each((draw, i) -> (draw.below(i, 5) - 2) / 2.0));
  }

  private void layouts() {
    Function<DataType, MobaSetup> plain = t -> new MobaSetup(t, 4, 2, 64, 16, 3, 70, 30);
    random("packed", t -> plain.apply(t).packed(), ALL);
    random("pitched", t -> plain.apply(t).place(Placement.PITCHED), F32, F16);
    random("misaligned", t -> plain.apply(t).place(Placement.MISALIGNED), ALL);
    random(
        "packed-wide-keys", t -> new MobaSetup(t, 4, 2, 96, 16, 3, 70).valueDim(40).packed(), F32);
    random("workspace-limit", t -> new MobaSetup(t, 8, 4, 32, 8, 3, 150).workspaceLimit(1), F32);
  }

  private void hazards() {
    MobaSetup setup = new MobaSetup(F32, 2, 1, 16, 8, 3, 40, 40).padding(0);
    MobaAttentionSpec spec = setup.spec(Mode.FORWARD);
    cases.add(
        begin("bad-cu-seqlens", Family.ADVERSARIAL, setup)
            .spec(spec)
            .runs(c -> badCuSeqlens(c, setup, spec)));
    MobaSetup graph = new MobaSetup(F32, 2, 1, 32, 8, 3, 60, 20).padding(20);
    MobaAttentionSpec graphSpec = graph.spec(Mode.FORWARD);
    cases.add(
        begin("replay-of-other-lengths", Family.RANDOM, graph)
            .spec(graphSpec)
            .profiles(Profile.GRAPHS)
            .runs(c -> replay(c, graph, graphSpec)));
  }

  /**
   * Blocks of a multiple of 128 tokens and rows of 64 or 128 columns: what kernels cut into whole
   * tiles for matrix units and copy engines. Sequences end anywhere within a tile.
   */
  private void wholeTiles() {
    DataType[] half = {BF16, F16};
    random("tiles-ragged", t -> new MobaSetup(t, 4, 2, 128, 128, 3, 300, 130, 1, 128), half);
    random("tiles-of-2", t -> new MobaSetup(t, 2, 1, 64, 256, 3, 800, 0, 300), F16);
    random("tiles-of-3", t -> new MobaSetup(t, 1, 1, 128, 384, 2, 900, 5), BF16);
    random("tiles-of-4", t -> new MobaSetup(t, 1, 1, 128, 512, 2, 1100), half);
    random("tiles-of-4-narrow", t -> new MobaSetup(t, 2, 2, 64, 512, 2, 1030, 513), F16);
    random("tiles-own-block-only", t -> new MobaSetup(t, 4, 2, 128, 128, 1, 300, 31), F16);
    random("tiles-top-9", t -> new MobaSetup(t, 2, 1, 64, 128, 9, 1160), BF16);
    random("tiles-fewer-than-top", t -> new MobaSetup(t, 4, 2, 64, 128, 8, 500, 20), BF16);
    random("tiles-group-of-12", t -> new MobaSetup(t, 12, 1, 64, 128, 2, 300), BF16);
    random("tiles-short", t -> new MobaSetup(t, 2, 1, 64, 128, 2, 63, 64, 65, 127, 129), F16);
    random("tiles-scale-given", t -> new MobaSetup(t, 2, 1, 128, 128, 3, 420).scale(0.3), BF16);
    random("tiles-scale-0", t -> new MobaSetup(t, 2, 1, 64, 128, 3, 420).scale(0), F16);
    random("tiles-scale-negative", t -> new MobaSetup(t, 2, 1, 64, 128, 3, 420).scale(-0.2), BF16);
    random("tiles-packed", t -> new MobaSetup(t, 4, 2, 64, 128, 3, 400, 200).packed(), F16);
    random(
        "tiles-pitched",
        t -> new MobaSetup(t, 4, 2, 128, 128, 3, 400).place(Placement.PITCHED),
        BF16);
    random(
        "tiles-misaligned",
        t -> new MobaSetup(t, 4, 2, 64, 128, 3, 400).place(Placement.MISALIGNED),
        BF16);
    random(
        "tiles-workspace-limit",
        t -> new MobaSetup(t, 8, 4, 64, 128, 3, 400, 60).workspaceLimit(1),
        half);
    random("tiles-much-padding", t -> new MobaSetup(t, 2, 1, 64, 128, 3, 390).padding(700), BF16);
    tileValues(half);
  }

  private void tileValues(DataType... half) {
    double nan = Double.NaN;
    double infinity = Double.POSITIVE_INFINITY;
    Function<DataType, MobaSetup> plain = t -> new MobaSetup(t, 4, 2, 64, 128, 3, 400, 140);
    add("tiles-scores-1e4", Family.LARGE, plain, half);
    add("tiles-tiny", Family.TINY, plain, F16);
    add("tiles-ties", Family.TIES, plain, half);
    add("tiles-ramp", Family.RAMP, plain, BF16);
    add("tiles-selection", Family.EXACT, plain, half);
    add("tiles-out-only", Family.EXACT, t -> plain.apply(t).outputs(false, false), BF16);
    add("tiles-lse-only", Family.EXACT, t -> plain.apply(t).outputs(true, false), F16);
    add(
        "even-weights-tiles",
        Family.EXACT,
        t -> evenWeights(new MobaSetup(t, 2, 1, 64, 128, 4, 600, 256)),
        half);
    add(
        "tiles-one-block-wanted-by-all",
        Family.ADVERSARIAL,
        t ->
            new MobaSetup(t, 4, 2, 64, 128, 2, 500)
                .q(Values.uniform(0.5, 1))
                .k(Values.normal(0.1).rows(128, 256, 1)),
        F16);
    // The second sequence's second block holds rows 240 to 368; all its rows want other blocks.
    Function<DataType, MobaSetup> three =
        t -> new MobaSetup(t, 2, 1, 64, 128, 3, 112, 560, 150).q(Values.uniform(0.5, 1));
    add(
        "tiles-nan-block",
        Family.ADVERSARIAL,
        t ->
            three
                .apply(t)
                .k(Values.normal(1).rows(243, 246, nan))
                .v(Values.normal(1).rows(240, 368, nan)),
        BF16);
    // Rows before 300 do not see it, those of the same block from there on do.
    add(
        "tiles-nan-value-unselected",
        Family.ADVERSARIAL,
        t ->
            three
                .apply(t)
                .k(Values.normal(1).rows(240, 368, -4))
                .v(Values.normal(1).rows(300, 301, nan)),
        half);
    add(
        "tiles-inf-unselected",
        Family.ADVERSARIAL,
        t ->
            three
                .apply(t)
                .k(Values.normal(1).rows(368, 496, -infinity))
                .v(Values.normal(1).rows(368, 496, infinity)),
        F16);
    // The next block's rows have but two past blocks: there 0 meets infinity.
    add(
        "tiles-inf-selected",
        Family.ADVERSARIAL,
        t ->
            three
                .apply(t)
                .k(Values.normal(1).rows(240, 368, -infinity))
                .v(Values.normal(1).rows(240, 368, infinity)),
        half);
    // A value that rows of later blocks do see, wherever they select its block.
    add(
        "tiles-nan-value-selected",
        Family.ADVERSARIAL,
        t -> three.apply(t).v(Values.normal(1).rows(300, 301, nan)),
        half);
    add(
        "tiles-nan-neighbour",
        Family.ADVERSARIAL,
        t ->
            three
                .apply(t)
                .q(Values.normal(1).rows(112, 672, nan))
                .k(Values.normal(1).rows(112, 672, nan))
                .v(Values.normal(1).rows(112, 672, infinity)),
        BF16);
    add(
        "tiles-nan-query",
        Family.ADVERSARIAL,
        t -> three.apply(t).q(Values.normal(1).rows(400, 401, nan)),
        BF16);
  }

  private void farRows() {
    String feature = "beyond-2e32-elements";
    random(feature, t -> new MobaSetup(t, 4, 2, 64, 32, 3, 100, 1, 33, 200).far(), F32, BF16);
    random(feature, t -> new MobaSetup(t, 2, 1, 128, 128, 3, 560, 200).far(), BF16);
  }

  private void random(String feature, Function<DataType, MobaSetup> setup, DataType... types) {
    add(feature, Family.RANDOM, setup, types);
  }

  private void add(
      String feature, Family family, Function<DataType, MobaSetup> setups, DataType... types) {
    for (DataType type : types) {
      MobaSetup setup = setups.apply(type);
      MobaAttentionSpec spec = setup.spec(Mode.FORWARD);
      cases.add(begin(feature, family, setup).spec(spec).runs(c -> forward(c, setup, spec)));
    }
  }

  private static ConformanceCase.Builder begin(String feature, Family family, MobaSetup setup) {
    return ConformanceCase.of("moba.forward", setup.type, setup.sizes(), feature, family)
        .placement(setup.placement)
        .profiles(setup.profiles)
        .flops(setup.flops());
  }

  private static void forward(CaseContext c, MobaSetup setup, MobaAttentionSpec spec) {
    Launch launch = new Launch(c, setup);
    MobaAttention moba = c.tested().prepare(spec);
    MobaForward arguments = launch.on(c.tested());
    c.launch(stream -> moba.forward(stream, arguments));
    launch.check(c, setup, spec);
  }

  /** One forward launch: its tensors, and what must hold of them afterwards. */
  private static final class Launch {
    final MobaSetup.Inputs inputs;
    final Operand out;
    final @Nullable Operand lse;
    final @Nullable Operand selection;

    Launch(CaseContext c, MobaSetup setup) {
      inputs = setup.draw(c);
      out = setup.outTensor(c).output();
      lse = setup.lse ? setup.lseTensor(c).output() : null;
      selection = setup.selection ? setup.selectionTensor(c).output() : null;
    }

    MobaForward on(Side side) {
      return MobaForward.of(
              side.of(inputs.q()),
              side.of(inputs.k()),
              side.of(inputs.v()),
              side.of(inputs.cuSeqlens()),
              side.of(out))
          .lse(side.ofNullable(lse))
          .selection(side.ofNullable(selection));
    }

    void check(CaseContext c, MobaSetup setup, MobaAttentionSpec spec) {
      MobaForward reference = on(c.reference());
      Tensor reported = reference.selection();
      if (selection != null && reported != null) {
        if (c.testCase().family() == Family.EXACT) {
          checkExactSelection(c, spec, reference, selection, reported);
        }
        MobaChecks.written(c, selection, setup.used());
        c.settle(selection);
        c.requireNoFault(c.oracle().mobaSelectionFault(spec, reference, reported));
      }
      Map<String, Expected> expected = c.oracle().mobaForward(spec, reference, reported);
      c.check(out, exactWhereEven(c, setup, expected.get("out")));
      if (lse != null) {
        c.check(lse, expected.get("lse"));
      }
    }

    /** Scores of small dyadic numbers are exact, so the choice is too, ties included. */
    private static void checkExactSelection(
        CaseContext c,
        MobaAttentionSpec spec,
        MobaForward reference,
        Operand selection,
        Tensor reported) {
      Stream stream = c.reference().device().defaultStream();
      c.reference().prepare(spec).forward(stream, reference);
      stream.synchronize();
      c.checkBits(selection, reported.download());
    }

    /** Where q is 0 and a row sees 2^m keys of few bits, its out must match bit for bit. */
    private static @Nullable Expected exactWhereEven(
        CaseContext c, MobaSetup setup, @Nullable Expected out) {
      if (out == null || !c.testCase().feature().startsWith("even-weights")) {
        return out;
      }
      int row = 0;
      for (int length : setup.lengths) {
        for (int position = 0; position < length; position++, row++) {
          int past = Math.min(setup.topK - 1, position / setup.block);
          int keys = past * setup.block + position % setup.block + 1;
          if (Integer.bitCount(keys) == 1) {
            int width = setup.heads * setup.valueDim;
            Arrays.fill(out.error(), row * width, (row + 1) * width, 0);
          }
        }
      }
      return out;
    }
  }

  /** Values that make no sense may give anything, but nothing may be touched beyond the tensors. */
  private static void badCuSeqlens(CaseContext c, MobaSetup setup, MobaAttentionSpec spec) {
    Launch launch = new Launch(c, setup);
    MobaAttention moba = c.tested().prepare(spec);
    MobaForward arguments = launch.on(c.tested());
    int[][] bad = {
      {0, 90, 80},
      {0, 1_000_000_000, 80},
      {-50, 40, 80},
      {0, 50, 20},
      {Integer.MIN_VALUE, Integer.MAX_VALUE, 0},
    };
    for (int[] starts : bad) {
      c.overwrite(launch.inputs.cuSeqlens(), HostTensor.ofInts(starts, starts.length));
      c.launchOnce(stream -> moba.forward(stream, arguments));
      c.require(true, "guard bands and inputs are as they were");
    }
    c.overwrite(launch.inputs.cuSeqlens(), HostTensor.ofInts(setup.cuSeqlens(), 3));
    c.launch(stream -> moba.forward(stream, arguments));
    launch.check(c, setup, spec);
  }

  /** A graph is captured for T rows and replayed on fewer, as other sequences. */
  private static void replay(CaseContext c, MobaSetup setup, MobaAttentionSpec spec) {
    Launch launch = new Launch(c, setup);
    MobaAttention moba = c.tested().prepare(spec);
    MobaForward arguments = launch.on(c.tested());
    c.launchOnce(stream -> moba.forward(stream, arguments));
    Graph graph = c.keep(c.stream().capture(stream -> moba.forward(stream, arguments)));
    MobaSetup smaller = new MobaSetup(F32, 2, 1, 32, 8, 3, 3, 71).padding(26);
    c.overwrite(launch.inputs.cuSeqlens(), HostTensor.ofInts(smaller.cuSeqlens(), 3));
    c.launchOnce(graph::launch);
    launch.check(c, smaller, spec);
  }
}
