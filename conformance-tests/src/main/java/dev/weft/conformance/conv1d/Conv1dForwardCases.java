package dev.weft.conformance.conv1d;

import static dev.weft.DataType.BF16;
import static dev.weft.DataType.F16;
import static dev.weft.DataType.F32;
import static dev.weft.conformance.Family.ADVERSARIAL;
import static dev.weft.conformance.Family.EXACT;
import static dev.weft.conformance.Family.LARGE;
import static dev.weft.conformance.Family.RAMP;
import static dev.weft.conformance.Family.RANDOM;
import static dev.weft.conformance.Family.TIES;
import static dev.weft.conformance.Family.TINY;
import static dev.weft.conv1d.Activation.NONE;

import dev.weft.DataType;
import dev.weft.Graph;
import dev.weft.HostTensor;
import dev.weft.Limits;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.Family;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Placement;
import dev.weft.conformance.Profile;
import dev.weft.conformance.Side;
import dev.weft.conformance.Values;
import dev.weft.conv1d.CausalConv1d;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.spi.Expected;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** Packed sequences, with and without states. */
final class Conv1dForwardCases {
  private static final int CHANNELS = 19; // no multiple of any vector

  private final List<ConformanceCase> cases = new ArrayList<>();

  Stream<ConformanceCase> cases() {
    widthsAndTypes();
    states();
    rings();
    skippedSequences();
    layouts();
    shapes();
    decoding();
    values();
    robustness();
    farRows();
    return cases.stream();
  }

  static CausalConv1dSpec.Builder spec(DataType type, int width) {
    return CausalConv1dSpec.builder().dataType(type).channels(CHANNELS).width(width);
  }

  private void widthsAndTypes() {
    for (int width = 2; width <= 8; width++) {
      add("ragged", EXACT, spec(F32, width).activation(NONE), Conv1dPlan.upTo(width + 1));
      add("ragged", RANDOM, spec(F32, width).bias(true), Conv1dPlan.upTo(width + 1));
    }
    for (DataType type : new DataType[] {BF16, F16}) {
      for (int width : new int[] {2, 4, 5, 8}) {
        add("ragged", RANDOM, spec(type, width).bias(true), Conv1dPlan.upTo(width + 1));
      }
      add(
          "no-activation",
          RANDOM,
          spec(type, 4).activation(NONE).bias(true),
          Conv1dPlan.of(9, 30, 1));
      add("no-activation", EXACT, spec(type, 4).activation(NONE).bias(true), Conv1dPlan.of(9, 30));
    }
    DataType[][] mixed = {
      {BF16, F32, F32},
      {BF16, BF16, F32},
      {BF16, F16, BF16},
      {F16, F32, F16},
      {F16, BF16, F32},
      {F32, BF16, BF16},
      {F32, F16, F16},
      {F32, F32, BF16}
    };
    for (DataType[] types : mixed) {
      add(
          "mixed-types",
          RANDOM,
          spec(types[0], 4).weightType(types[1]).stateType(types[2]).bias(true),
          Conv1dPlan.of(5, 2, 0, 1, 12).states(3));
    }
  }

  private void states() {
    for (int width : new int[] {2, 4, 8}) {
      add(
          "short-with-states",
          EXACT,
          spec(F32, width).activation(NONE).bias(true),
          Conv1dPlan.upTo(width + 1).states(width - 1));
    }
    for (DataType type : new DataType[] {BF16, F16}) {
      add("short-with-states", EXACT, spec(type, 4).activation(NONE), Conv1dPlan.upTo(5).states(3));
      add("wide-states", RANDOM, spec(type, 4), Conv1dPlan.of(2, 0, 11, 1, 5, 6).states(5));
    }
    for (int columns : new int[] {4, 7, 16}) {
      add("wide-states", RANDOM, spec(F32, 4), Conv1dPlan.upTo(8).states(columns));
    }
    for (DataType type : new DataType[] {F32, BF16}) {
      add(
          "channels-innermost",
          RAMP,
          spec(type, 4).activation(NONE),
          Conv1dPlan.upTo(5).states(3).statePlacement(Placement.TRANSPOSED).initialStatesOut());
    }
    add(
        "channels-innermost-wide",
        RANDOM,
        spec(F32, 4),
        Conv1dPlan.upTo(5).states(6).statePlacement(Placement.TRANSPOSED));
    add(
        "initial-states-out",
        RANDOM,
        spec(F32, 4),
        Conv1dPlan.of(4, 0, 0, 7, 1).states(5).indices(2, 4, -1, 0, 1).initialStatesOut());
    add(
        "initial-states-out",
        EXACT,
        spec(BF16, 3).activation(NONE),
        Conv1dPlan.of(4, 0, 3, 7).states(2).indices(0, 9, 1, 3).initialStatesOut());
    // What is in a slot that a sequence does not start from, or that none has, is not read.
    add(
        "nan-in-slots-not-started-from",
        RANDOM,
        spec(F32, 4),
        Conv1dPlan.of(2, 9, 3)
            .states(5)
            .slots(6)
            .indices(1, 3, 5)
            .initial(0, 1, 0)
            .stateValues(
                Values.normal(1)
                    .rows(0, 2, Double.NaN)
                    .rows(2, 3, Double.POSITIVE_INFINITY)
                    .rows(4, 6, Double.NaN)));
  }

  private void rings() {
    add(
        "ring-before-wrap",
        EXACT,
        spec(F32, 4).activation(NONE),
        Conv1dPlan.of(1, 2, 3, 1, 0, 2).states(7).positions(0, 1, 2, 3, 4, 5));
    add(
        "ring-after-wrap",
        EXACT,
        spec(F32, 4).activation(NONE),
        Conv1dPlan.of(1, 9, 3, 7, 0, 8).states(7).positions(6, 7, 8, 21, 4, 1000003));
    add(
        "ring-as-wide-as-the-history",
        RANDOM,
        spec(F32, 4).bias(true),
        Conv1dPlan.of(1, 2, 3, 4, 5, 11).states(3).positions(0, 1, 2, 3, 4, 5));
    add(
        "ring-after-wrap",
        RANDOM,
        spec(BF16, 4),
        Conv1dPlan.of(5, 2, 20)
            .states(8)
            .positions(6, 11, 300)
            .statePlacement(Placement.TRANSPOSED)
            .initialStatesOut());
    add(
        "ring-from-zeros",
        EXACT,
        spec(F16, 5).activation(NONE),
        Conv1dPlan.of(2, 9, 1).states(6).positions(9, 3, 0).initial(0, 0, 0));
    add(
        "ring-at-the-last-positions",
        EXACT,
        spec(F32, 4).activation(NONE),
        Conv1dPlan.of(5, 9, 1)
            .states(7)
            .positions(Integer.MAX_VALUE - 1, Integer.MAX_VALUE, Integer.MAX_VALUE - 9));
  }

  private void skippedSequences() {
    add(
        "pads-in-the-middle",
        RANDOM,
        spec(F32, 4).bias(true),
        Conv1dPlan.of(3, 4, 2, 6).states(3).indices(2, -1, -1, 0));
    add(
        "pads-in-the-middle",
        EXACT,
        spec(BF16, 4).activation(NONE),
        Conv1dPlan.of(3, 4, 0, 2, 6).states(4).indices(2, -1, -1, -1, 0).padding(3));
    add(
        "pad-is-slot-0",
        RANDOM,
        spec(F32, 4).padSlotId(0),
        Conv1dPlan.of(3, 4, 2, 6).states(3).indices(2, 0, 0, 1));
    add(
        "slots-out-of-range",
        ADVERSARIAL,
        spec(F32, 4),
        Conv1dPlan.of(3, 4, 2, 6, 1, 2)
            .states(3)
            .slots(3)
            .indices(2, 3, -7, Integer.MAX_VALUE, Integer.MIN_VALUE, 0)
            .initialStatesOut());
    add(
        "ring-pads",
        RANDOM,
        spec(F32, 3),
        Conv1dPlan.of(3, 4, 2).states(5).indices(2, -1, 0).positions(4, 5, 6));
  }

  private void layouts() {
    for (DataType type : new DataType[] {F32, BF16, F16}) {
      for (Placement placement : new Placement[] {Placement.PITCHED, Placement.MISALIGNED}) {
        Conv1dPlan plan = Conv1dPlan.of(6, 1, 0, 13).states(4).padding(2).initialStatesOut();
        CausalConv1dSpec spec = spec(type, 4).bias(true).build();
        cases.add(
            start(placement == Placement.PITCHED ? "pitched" : "misaligned", RANDOM, spec, plan)
                .placement(placement)
                .runs(c -> forward(c, spec, plan)));
      }
    }
    for (DataType type : new DataType[] {F32, BF16}) {
      CausalConv1dSpec spec = spec(type, 4).channels(16).activation(NONE).build();
      Conv1dPlan plan = Conv1dPlan.of(6, 1, 13);
      cases.add(start("packed", RAMP, spec, plan).runs(c -> packed(c, spec, plan)));
    }
  }

  private void shapes() {
    for (int channels : new int[] {1, 7, 129, 1040}) {
      add("channels", RANDOM, spec(F32, 4).channels(channels), Conv1dPlan.of(9, 2, 20).states(3));
    }
    add("channels", RANDOM, spec(BF16, 4).channels(512), Conv1dPlan.of(33, 2, 70).states(3));
    add("long", RANDOM, spec(F32, 4).channels(3), Conv1dPlan.of(4099));
    add("long", RAMP, spec(BF16, 4).channels(3).activation(NONE), Conv1dPlan.of(1, 2500, 700));
    int[] many = new int[300];
    for (int b = 0; b < many.length; b++) {
      many[b] = b * 7 % 5;
    }
    add("many-sequences", EXACT, spec(F32, 4).activation(NONE), Conv1dPlan.of(many).states(3));
    add("skewed", RANDOM, spec(F32, 4), Conv1dPlan.of(1, 1, 1, 900, 1, 1));
    add("no-tokens", ADVERSARIAL, spec(F32, 4), Conv1dPlan.of(0, 0, 0).states(3));
    add("no-sequences", ADVERSARIAL, spec(F32, 4), Conv1dPlan.of());
    add("only-padding", ADVERSARIAL, spec(F32, 4), Conv1dPlan.of().padding(5));
    add("only-padding", ADVERSARIAL, spec(BF16, 4), Conv1dPlan.of(0, 0).states(4).padding(5));
  }

  /** A batch that decodes: a token of each sequence, but for two of them, and slots left out. */
  private void decoding() {
    int[] lengths = new int[300];
    int[] slots = new int[lengths.length];
    Arrays.setAll(lengths, b -> b == 200 ? 0 : b == 201 ? 3 : 1);
    Arrays.setAll(slots, b -> b % 9 == 4 ? -1 : lengths.length - b);
    for (DataType type : new DataType[] {F32, BF16, F16}) {
      Conv1dPlan plan = Conv1dPlan.of(lengths).states(3).indices(slots).padding(2);
      add("decoding", RANDOM, spec(type, 4).channels(264).bias(true), plan);
    }
    Conv1dPlan transposed =
        Conv1dPlan.of(lengths).states(3).indices(slots).statePlacement(Placement.TRANSPOSED);
    add("decoding", EXACT, spec(BF16, 4).channels(264).activation(NONE), transposed);
  }

  private void values() {
    for (DataType type : new DataType[] {F32, BF16, F16}) {
      add("padding-rows", RANDOM, spec(type, 4).bias(true), Conv1dPlan.of(6, 3).padding(9));
    }
    add(
        "nan-in-neighbours",
        ADVERSARIAL,
        spec(F32, 4),
        Conv1dPlan.of(6, 5, 7).states(3).inputs(Values.normal(1).rows(6, 11, Double.NaN)));
    add(
        "inf-in-neighbours",
        ADVERSARIAL,
        spec(BF16, 4),
        Conv1dPlan.of(6, 5, 7)
            .states(5)
            .inputs(Values.normal(1).rows(6, 11, Double.POSITIVE_INFINITY)));
    add("values", RAMP, spec(F32, 4).activation(NONE), Conv1dPlan.of(6, 5, 40).states(3));
    add("values", TIES, spec(F32, 4), Conv1dPlan.of(6, 5, 40).states(3));
    for (DataType type : new DataType[] {F32, BF16, F16}) {
      add("values", LARGE, spec(type, 4).bias(true), Conv1dPlan.of(6, 5, 40).states(3));
      add("values", TINY, spec(type, 4).bias(true), Conv1dPlan.of(6, 5, 40).states(3));
    }
    // Sums of about +-40 and +-90, where exp(-x) is out of range in F32.
    for (DataType type : new DataType[] {F32, BF16}) {
      add(
          "saturated",
          ADVERSARIAL,
          spec(type, 4),
          Conv1dPlan.of(40)
              .inputs(Values.each((draw, i) -> (draw.below(i, 7) - 3) * 40 + draw.normal(i))));
    }
  }

  private void robustness() {
    CausalConv1dSpec spec = spec(F32, 4).build();
    Conv1dPlan three = Conv1dPlan.of(4, 4, 4).states(3);
    inBounds("cu-seqlens-that-descend", spec, three, 0, 9, 4, 12);
    inBounds("cu-seqlens-beyond-the-rows", spec, three, -5, 3, 20, 12);
    inBounds("cu-seqlens-at-the-limits", spec, three, Integer.MIN_VALUE, Integer.MAX_VALUE, 0, 1);
    inBounds(
        "ring-at-negative-positions",
        spec,
        Conv1dPlan.of(4, 4, 4).states(5).positions(-1, Integer.MIN_VALUE, -1000),
        0,
        4,
        8,
        12);
    inBounds(
        "one-slot-twice", spec, Conv1dPlan.of(4, 4, 4).states(3).indices(1, 1, 1), 0, 4, 8, 12);
    Conv1dPlan plan = Conv1dPlan.of(6, 3, 0, 2).states(3).padding(4);
    cases.add(
        start("replay-after-changes", EXACT, spec, plan)
            .profiles(Profile.GRAPHS)
            .runs(c -> replay(c, spec, plan)));
  }

  /** Rows and slots beyond 2^32 elements, of a prompt and of a batch that decodes. */
  private void farRows() {
    int[] many = new int[64];
    Arrays.setAll(many, b -> b == 40 ? 0 : b == 41 ? 2 : 1);
    Conv1dPlan few = Conv1dPlan.of(17, 0, 30, 1, 16).states(3).slots(64);
    few.indices(60, 5, 63, 40, 62);
    Conv1dPlan[] plans = {few, Conv1dPlan.of(many).states(3).slots(64).initialStatesOut()};
    plans[1].indices(IntStream.range(0, 64).map(b -> b % 9 == 4 ? -1 : 63 - b).toArray());
    for (DataType type : new DataType[] {F32, BF16}) {
      for (Conv1dPlan plan : plans) {
        CausalConv1dSpec spec = spec(type, 4).channels(72).bias(true).build();
        cases.add(
            start("beyond-2e32-elements", RANDOM, spec, plan)
                .placement(Placement.FAR)
                .profiles(Profile.LARGE)
                .runs(c -> forward(c, spec, plan)));
      }
    }
  }

  private void add(
      String feature, Family family, CausalConv1dSpec.Builder builder, Conv1dPlan plan) {
    CausalConv1dSpec spec = builder.build();
    cases.add(start(feature, family, spec, plan).runs(c -> forward(c, spec, plan)));
  }

  private void inBounds(String feature, CausalConv1dSpec spec, Conv1dPlan plan, int... cuSeqlens) {
    cases.add(
        start(feature, ADVERSARIAL, spec, plan).runs(c -> staysInBounds(c, spec, plan, cuSeqlens)));
  }

  private static ConformanceCase.Builder start(
      String feature, Family family, CausalConv1dSpec spec, Conv1dPlan plan) {
    return ConformanceCase.of("conv1d.forward", spec.dataType(), plan.text(spec), feature, family)
        .spec(spec)
        .flops(2L * plan.rows() * spec.channels() * spec.width());
  }

  // ---- bodies ----

  /** The tensors of a call beside x and out. */
  private record Call(
      Conv1dPlan.Weights weights,
      Operand cuSeqlens,
      @Nullable Operand states,
      @Nullable Operand cacheIndices,
      @Nullable Operand hasInitialState,
      @Nullable Operand cacheSeqlens,
      @Nullable Operand initialStatesOut) {

    static Call of(CaseContext c, CausalConv1dSpec spec, Conv1dPlan plan, int[] cuSeqlens) {
      boolean states = plan.columns > 0;
      int[] positions = plan.positions;
      return new Call(
          new Conv1dPlan.Weights(c, spec),
          c.ints("cuSeqlens", cuSeqlens),
          states ? plan.states(c, "states", spec, plan.slots, plan.columns).inout() : null,
          states ? c.ints("cacheIndices", plan.indices) : null,
          states ? c.flags("hasInitialState", plan.initial) : null,
          positions == null ? null : c.ints("cacheSeqlens", positions),
          plan.initialStatesOut
              ? plan.states(c, "initialStatesOut", spec, plan.count(), spec.width() - 1).output()
              : null);
    }

    Function<Side, Conv1dForward> arguments(Operand x, Operand out) {
      return s ->
          Conv1dForward.of(weights.on(s), s.of(x), s.of(cuSeqlens), s.of(out))
              .states(s.ofNullable(states))
              .cacheIndices(s.ofNullable(cacheIndices))
              .hasInitialState(s.ofNullable(hasInitialState))
              .cacheSeqlens(s.ofNullable(cacheSeqlens))
              .initialStatesOut(s.ofNullable(initialStatesOut));
    }

    void check(CaseContext c, CausalConv1dSpec spec, Operand out, Map<String, Expected> expected) {
      Conv1dPlan.check(c, spec, out, expected.get("out"));
      if (states != null) {
        c.check(states, expected.get("states"));
      }
      if (initialStatesOut != null) {
        c.check(initialStatesOut, expected.get("initialStatesOut"));
      }
    }
  }

  private static void forward(CaseContext c, CausalConv1dSpec spec, Conv1dPlan plan) {
    Operand x = plan.rowsInput(c, "x", spec);
    Operand out = c.tensor("out", spec.dataType(), plan.rows(), spec.channels()).output();
    run(c, spec, plan, x, out);
  }

  /** x and out as the middle parts of wider rows. */
  private static void packed(CaseContext c, CausalConv1dSpec spec, Conv1dPlan plan) {
    Operand x =
        c.packInputs(
                c.tensor("left", spec.dataType(), plan.rows(), 5),
                c.tensor("x", spec.dataType(), plan.rows(), spec.channels()))
            .get(1);
    Operand out =
        c.packOutputs(c.tensor("out", spec.dataType(), plan.rows(), spec.channels())).getFirst();
    run(c, spec, plan, x, out);
  }

  private static void run(
      CaseContext c, CausalConv1dSpec spec, Conv1dPlan plan, Operand x, Operand out) {
    Call call = Call.of(c, spec, plan, plan.cuSeqlens());
    Function<Side, Conv1dForward> arguments = call.arguments(x, out);
    CausalConv1d conv = c.tested().prepare(spec);
    Conv1dForward launch = arguments.apply(c.tested());
    c.launch(stream -> conv.forward(stream, launch));
    call.check(c, spec, out, c.oracle().conv1dForward(spec, arguments.apply(c.reference())));
  }

  /** Whatever the device's values are, guards and inputs stay as they are. */
  private static void staysInBounds(
      CaseContext c, CausalConv1dSpec spec, Conv1dPlan plan, int[] cuSeqlens) {
    Operand x = plan.rowsInput(c, "x", spec);
    Operand out = c.tensor("out", spec.dataType(), plan.rows(), spec.channels()).output();
    Call call = Call.of(c, spec, plan, cuSeqlens);
    CausalConv1d conv = c.tested().prepare(spec);
    Conv1dForward launch = call.arguments(x, out).apply(c.tested());
    c.launchOnce(stream -> conv.forward(stream, launch));
    c.require(true, "guards, inputs and the rest of memory are as they were");
  }

  /** A graph reads cu_seqlens and slots anew at every launch. */
  private static void replay(CaseContext c, CausalConv1dSpec spec, Conv1dPlan plan) {
    Operand x = c.tensor("x", spec.dataType(), plan.rows(), spec.channels()).input();
    Operand out = c.tensor("out", spec.dataType(), plan.rows(), spec.channels()).output();
    Call call = Call.of(c, spec, plan, plan.cuSeqlens());
    Operand states = Objects.requireNonNull(call.states);
    Operand indices = Objects.requireNonNull(call.cacheIndices);
    Function<Side, Conv1dForward> arguments = call.arguments(x, out);
    CausalConv1d conv = c.tested().prepare(spec);
    Conv1dForward launch = arguments.apply(c.tested());
    if (!c.tested().device().info().graphs()) {
      c.launch(stream -> conv.forward(stream, launch));
      c.check(out, c.oracle().conv1dForward(spec, arguments.apply(c.reference())).get("out"));
      return;
    }
    c.stream().reserve(conv.workspaceBytes(Limits.of(plan.rows(), plan.count())));
    Graph graph = c.keep(c.stream().capture(stream -> conv.forward(stream, launch)));
    int[][] lengths = {plan.cuSeqlens(), {0, 1, 1, 13, 15}, {0, 0, 0, 0, 0}, {0, 4, 8, 12, 12}};
    int[][] slots = {plan.indices, {0, 1, 2, 3}, {3, 2, 1, 0}, {5, -1, 4, 1}};
    for (int i = 0; i < lengths.length; i++) {
      c.overwrite(call.cuSeqlens, HostTensor.ofInts(lengths[i], lengths[i].length));
      c.overwrite(indices, HostTensor.ofInts(slots[i], slots[i].length));
      c.overwrite(states, c.read(states));
      c.launchOnce(graph::launch);
      call.check(c, spec, out, c.oracle().conv1dForward(spec, arguments.apply(c.reference())));
    }
  }
}
