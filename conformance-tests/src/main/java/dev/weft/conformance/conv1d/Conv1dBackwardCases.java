package dev.weft.conformance.conv1d;

import static dev.weft.DataType.BF16;
import static dev.weft.DataType.F16;
import static dev.weft.DataType.F32;
import static dev.weft.conformance.Family.ADVERSARIAL;
import static dev.weft.conformance.Family.EXACT;
import static dev.weft.conformance.Family.LARGE;
import static dev.weft.conformance.Family.RAMP;
import static dev.weft.conformance.Family.RANDOM;
import static dev.weft.conformance.Family.TINY;
import static dev.weft.conv1d.Activation.NONE;

import dev.weft.DataType;
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
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.spi.Expected;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** Gradients. */
final class Conv1dBackwardCases {
  private final List<ConformanceCase> cases = new ArrayList<>();

  /** What a call gives and asks for beside x, cu_seqlens and dout. */
  private enum Part {
    CACHE_INDICES,
    INITIAL_STATES,
    DFINAL,
    DX,
    DWEIGHT,
    DBIAS,
    DINITIAL,
    ACCUMULATE
  }

  private static final Set<Part> GRADIENTS = EnumSet.of(Part.DX, Part.DWEIGHT, Part.DBIAS);
  private static final Set<Part> ALL =
      EnumSet.complementOf(EnumSet.of(Part.ACCUMULATE, Part.CACHE_INDICES));

  Stream<ConformanceCase> cases() {
    for (int width = 2; width <= 8; width++) {
      CausalConv1dSpec.Builder exact = spec(F32, width).activation(NONE);
      add("short-with-states", EXACT, exact, Conv1dPlan.upTo(width + 1), ALL);
      add("ragged", RANDOM, spec(F32, width), Conv1dPlan.upTo(width + 1), GRADIENTS);
    }
    for (DataType type : new DataType[] {BF16, F16}) {
      add("short-with-states", RANDOM, spec(type, 4), Conv1dPlan.upTo(5), ALL);
      add("short-with-states", EXACT, spec(type, 4).activation(NONE), Conv1dPlan.upTo(5), ALL);
      add(
          "storage-type-gradients",
          RANDOM,
          spec(type, 4).gradientType(type),
          Conv1dPlan.of(9, 30),
          with(GRADIENTS, Part.ACCUMULATE));
      add("padding-rows", RANDOM, spec(type, 4), Conv1dPlan.of(6, 1, 3).padding(7), ALL);
    }
    add("short-with-states", RANDOM, spec(F32, 4), Conv1dPlan.upTo(5), ALL);
    add("padding-rows", RANDOM, spec(F32, 4), Conv1dPlan.of(6, 1, 3).padding(7), ALL);
    add("mixed-types", RANDOM, spec(BF16, 4).weightType(F32).stateType(F32), plain(), ALL);
    add("mixed-types", RANDOM, spec(F32, 4).weightType(BF16).stateType(F16), plain(), ALL);
    add("mixed-types", RANDOM, spec(F16, 3).weightType(F32).stateType(BF16), plain(), ALL);
    options();
    skipped();
    layouts();
    shapes();
    farRows();
    return cases.stream();
  }

  private void options() {
    add("accumulate", RANDOM, spec(F32, 4), plain(), with(ALL, Part.ACCUMULATE));
    add("accumulate", EXACT, spec(F32, 4).activation(NONE), plain(), with(ALL, Part.ACCUMULATE));
    add("only-dx", RANDOM, spec(F32, 4), plain(), EnumSet.of(Part.DX));
    add("only-dweight", RANDOM, spec(F32, 4), plain(), EnumSet.of(Part.DWEIGHT));
    add("only-dbias", RANDOM, spec(F32, 4), plain(), EnumSet.of(Part.DBIAS));
    add(
        "only-dinitial",
        EXACT,
        spec(F32, 4).activation(NONE),
        plain(),
        EnumSet.of(Part.INITIAL_STATES, Part.DFINAL, Part.DINITIAL));
    add("no-bias", RANDOM, spec(F32, 4).bias(false), plain(), without(ALL, Part.DBIAS));
    add(
        "dfinal-without-initial-states",
        RANDOM,
        spec(F32, 4),
        plain(),
        without(ALL, Part.INITIAL_STATES));
    add(
        "initial-states-without-dfinal",
        EXACT,
        spec(F32, 4).activation(NONE),
        plain(),
        without(ALL, Part.DFINAL));
    CausalConv1dSpec fast = spec(F32, 4).repeatableBackward(false).build();
    Conv1dPlan plan = Conv1dPlan.of(40, 70);
    cases.add(
        start("not-repeatable", RANDOM, fast, plan)
            .runs(c -> new Launch(c, fast, plan, ALL).once(c)));
  }

  private void skipped() {
    Set<Part> pads = with(ALL, Part.CACHE_INDICES);
    // A skipped sequence's rows take part in nothing.
    add(
        "pads-in-the-middle",
        RANDOM,
        spec(F32, 4),
        Conv1dPlan.of(4, 5, 0, 3, 6)
            .indices(1, -1, -1, 0, -3)
            .inputs(Values.normal(1).rows(4, 9, Double.NaN)),
        pads);
    add(
        "pads-in-the-middle",
        EXACT,
        spec(BF16, 4).activation(NONE),
        Conv1dPlan.of(4, 5, 2).indices(1, -1, 0),
        pads);
    add(
        "pad-is-slot-7",
        RANDOM,
        spec(F32, 4).padSlotId(7),
        Conv1dPlan.of(4, 5, 2).indices(1, 7, 0),
        pads);
    add(
        "nan-in-neighbours",
        ADVERSARIAL,
        spec(F32, 4),
        Conv1dPlan.of(6, 5, 7).inputs(Values.normal(1).rows(6, 11, Double.NaN)),
        EnumSet.of(Part.DX, Part.INITIAL_STATES, Part.DINITIAL, Part.DFINAL));
    CausalConv1dSpec spec = spec(F32, 4).build();
    Conv1dPlan plan = Conv1dPlan.of(4, 4, 4);
    cases.add(
        start("bad-cu-seqlens", ADVERSARIAL, spec, plan)
            .runs(c -> {
              Launch launch =
                  new Launch(c, spec, plan, ALL, new int[] {9, -3, Integer.MAX_VALUE, 2});
              CausalConv1d conv = c.tested().prepare(spec);
              Conv1dBackward a = launch.arguments.apply(c.tested());
              c.launchOnce(stream -> conv.backward(stream, a));
              c.require(true, "guards, inputs and the rest of memory are as they were");
            }));
  }

  private void layouts() {
    for (DataType type : new DataType[] {F32, BF16}) {
      add(
          "channels-innermost",
          RAMP,
          spec(type, 4).activation(NONE),
          Conv1dPlan.of(6, 1, 0, 3).statePlacement(Placement.TRANSPOSED),
          ALL);
      for (Placement placement : new Placement[] {Placement.PITCHED, Placement.MISALIGNED}) {
        CausalConv1dSpec spec = spec(type, 4).build();
        Conv1dPlan plan = Conv1dPlan.of(6, 1, 0, 13).padding(2);
        cases.add(
            start(placement == Placement.PITCHED ? "pitched" : "misaligned", RANDOM, spec, plan)
                .placement(placement)
                .runs(c -> backward(c, spec, plan, ALL)));
      }
    }
  }

  private void shapes() {
    add("no-tokens", ADVERSARIAL, spec(F32, 4), Conv1dPlan.of(0, 0), ALL);
    add("no-sequences", ADVERSARIAL, spec(F32, 4), Conv1dPlan.of(), GRADIENTS);
    add("only-padding", ADVERSARIAL, spec(BF16, 4), Conv1dPlan.of().padding(4), GRADIENTS);
    add(
        "no-tokens-accumulate",
        ADVERSARIAL,
        spec(F32, 4),
        Conv1dPlan.of(0),
        with(GRADIENTS, Part.ACCUMULATE));
    for (DataType type : new DataType[] {F32, BF16}) {
      add("long", RANDOM, spec(type, 4).channels(3), Conv1dPlan.of(4099), GRADIENTS);
    }
    add("channels", RANDOM, spec(F32, 4).channels(1), plain(), ALL);
    add("channels", RANDOM, spec(F32, 4).channels(1040), plain(), ALL);
    int[] many = new int[300];
    for (int b = 0; b < many.length; b++) {
      many[b] = b * 7 % 5;
    }
    add("many-sequences", RANDOM, spec(F32, 4), Conv1dPlan.of(many), ALL);
    add("values", LARGE, spec(F32, 4), Conv1dPlan.of(20, 3), ALL);
    add("values", LARGE, spec(BF16, 4), Conv1dPlan.of(20, 3), ALL);
    add("values", TINY, spec(F32, 4), Conv1dPlan.of(20, 3), ALL);
    add("values", TINY, spec(F16, 4), Conv1dPlan.of(20, 3), ALL);
    // Around -1.278 the derivative of SiLU goes through 0; far out it is 0 or 1.
    add(
        "saturated",
        ADVERSARIAL,
        spec(F32, 4),
        Conv1dPlan.of(40)
            .inputs(Values.each((draw, i) -> (draw.below(i, 7) - 3) * 40 + draw.normal(i))),
        GRADIENTS);
  }

  /** Rows and states beyond 2^32 elements, of short sequences and of long ones. */
  private void farRows() {
    int[] many = new int[64];
    Arrays.setAll(many, b -> b % 3); // 63 in all
    many[63]++;
    for (DataType type : new DataType[] {F32, BF16}) {
      CausalConv1dSpec spec = spec(type, 4).channels(72).build();
      for (Conv1dPlan plan : List.of(Conv1dPlan.of(many), Conv1dPlan.of(210, 0, 390))) {
        cases.add(
            start("beyond-2e32-elements", RANDOM, spec, plan)
                .profiles(Profile.LARGE)
                .placement(Placement.FAR)
                .runs(c -> backward(c, spec, plan, ALL)));
      }
    }
  }

  private static Conv1dPlan plain() {
    return Conv1dPlan.of(5, 1, 0, 12, 2);
  }

  private static Set<Part> with(Set<Part> parts, Part more) {
    EnumSet<Part> result = EnumSet.copyOf(parts);
    result.add(more);
    return result;
  }

  private static Set<Part> without(Set<Part> parts, Part less) {
    EnumSet<Part> result = EnumSet.copyOf(parts);
    result.remove(less);
    return result;
  }

  private static CausalConv1dSpec.Builder spec(DataType type, int width) {
    return Conv1dForwardCases.spec(type, width).bias(true).modes(Mode.BACKWARD);
  }

  private void add(
      String feature,
      Family family,
      CausalConv1dSpec.Builder builder,
      Conv1dPlan plan,
      Set<Part> parts) {
    CausalConv1dSpec spec = builder.build();
    cases.add(start(feature, family, spec, plan).runs(c -> backward(c, spec, plan, parts)));
  }

  private static ConformanceCase.Builder start(
      String feature, Family family, CausalConv1dSpec spec, Conv1dPlan plan) {
    return ConformanceCase.of("conv1d.backward", spec.dataType(), plan.text(spec), feature, family)
        .spec(spec)
        .profiles(Profile.TRAINING)
        .flops(6L * plan.rows() * spec.channels() * spec.width());
  }

  private static void backward(
      CaseContext c, CausalConv1dSpec spec, Conv1dPlan plan, Set<Part> parts) {
    Launch launch = new Launch(c, spec, plan, parts);
    CausalConv1d conv = c.tested().prepare(spec);
    Conv1dBackward a = launch.arguments.apply(c.tested());
    c.launch(stream -> conv.backward(stream, a));
    launch.check(c);
  }

  /** A call's tensors. */
  private static final class Launch {
    private final CausalConv1dSpec spec;
    private final @Nullable Operand dx;
    private final @Nullable Operand dweight;
    private final @Nullable Operand dbias;
    private final @Nullable Operand dinitial;
    private final Function<Side, Conv1dBackward> arguments;

    Launch(CaseContext c, CausalConv1dSpec spec, Conv1dPlan plan, Set<Part> parts) {
      this(c, spec, plan, parts, plan.cuSeqlens());
    }

    Launch(
        CaseContext c, CausalConv1dSpec spec, Conv1dPlan plan, Set<Part> parts, int[] cuSeqlens) {
      this.spec = spec;
      int count = plan.count();
      int history = spec.width() - 1;
      Operand x = plan.rowsInput(c, "x", spec);
      Operand dout =
          c.tensor("dout", spec.dataType(), plan.rows(), spec.channels())
              .values(c.testCase().family().draws().rows(plan.tokens(), plan.rows(), Double.NaN))
              .input();
      Operand cu = c.ints("cuSeqlens", cuSeqlens);
      Conv1dPlan.Weights weights = new Conv1dPlan.Weights(c, spec);
      Operand indices =
          parts.contains(Part.CACHE_INDICES) ? c.ints("cacheIndices", plan.indices) : null;
      boolean initial = parts.contains(Part.INITIAL_STATES);
      Operand initialStates =
          initial ? plan.states(c, "initialStates", spec, count, history).input() : null;
      Operand hasInitial = initial ? c.flags("hasInitialState", plan.initial) : null;
      Operand dfinal =
          parts.contains(Part.DFINAL)
              ? plan.states(c, "dfinalStates", spec, count, history).input()
              : null;
      boolean accumulate = parts.contains(Part.ACCUMULATE);
      dx =
          parts.contains(Part.DX)
              ? c.tensor("dx", spec.dataType(), plan.rows(), spec.channels()).output()
              : null;
      dweight =
          parts.contains(Part.DWEIGHT)
              ? parameter(
                  c.tensor("dweight", spec.gradientType(), spec.channels(), spec.width()),
                  accumulate)
              : null;
      dbias =
          parts.contains(Part.DBIAS)
              ? parameter(c.tensor("dbias", spec.gradientType(), spec.channels()), accumulate)
              : null;
      dinitial =
          parts.contains(Part.DINITIAL)
              ? plan.states(c, "dinitialStates", spec, count, history).output()
              : null;
      arguments =
          s ->
              Conv1dBackward.of(weights.on(s), s.of(x), s.of(cu), s.of(dout))
                  .cacheIndices(s.ofNullable(indices))
                  .initialStates(s.ofNullable(initialStates))
                  .hasInitialState(s.ofNullable(hasInitial))
                  .dfinalStates(s.ofNullable(dfinal))
                  .dx(s.ofNullable(dx))
                  .dweight(s.ofNullable(dweight))
                  .dbias(s.ofNullable(dbias))
                  .dinitialStates(s.ofNullable(dinitial))
                  .accumulate(accumulate);
    }

    private static Operand parameter(CaseContext.TensorOf tensor, boolean accumulate) {
      return accumulate ? tensor.inout() : tensor.output();
    }

    void once(CaseContext c) {
      CausalConv1d conv = c.tested().prepare(spec);
      Conv1dBackward a = arguments.apply(c.tested());
      c.launchOnce(stream -> conv.backward(stream, a));
      check(c);
    }

    void check(CaseContext c) {
      Map<String, Expected> expected =
          c.oracle().conv1dBackward(spec, arguments.apply(c.reference()));
      check(c, dx, expected.get("dx"));
      check(c, dweight, expected.get("dweight"));
      check(c, dbias, expected.get("dbias"));
      check(c, dinitial, expected.get("dinitialStates"));
    }

    private void check(CaseContext c, @Nullable Operand got, @Nullable Expected expected) {
      if (got != null) {
        Conv1dPlan.check(c, spec, got, expected);
      }
    }
  }
}
