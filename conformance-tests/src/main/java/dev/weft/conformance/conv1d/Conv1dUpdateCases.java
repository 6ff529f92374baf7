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
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.spi.Expected;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** Decoding steps: one or several new tokens for each slot. */
final class Conv1dUpdateCases {
  private static final int CHANNELS = 19;

  private final List<ConformanceCase> cases = new ArrayList<>();

  Stream<ConformanceCase> cases() {
    for (int width = 2; width <= 8; width++) {
      CausalConv1dSpec.Builder exact = spec(F32, width).activation(NONE).bias(true);
      add("one-token", EXACT, exact, Call.of(1, 1, 1), width - 1);
    }
    for (DataType type : new DataType[] {F32, BF16, F16}) {
      add("one-token", RANDOM, spec(type, 4).bias(true), Call.of(1, 1, 1, 1), 3);
      add("several-tokens", RANDOM, spec(type, 4), Call.of(3, 3), 5);
      add("in-place", RANDOM, spec(type, 4), Call.of(2, 2, 2).inPlace().indices(1, -1, 0), 3);
      add("ragged", RANDOM, spec(type, 4), Call.of(2, 0, 1, 9, 4).ragged(3), 4);
    }
    for (int tokens : new int[] {2, 3, 4, 5, 11}) {
      CausalConv1dSpec.Builder exact = spec(F32, 4).activation(NONE);
      add("several-tokens", EXACT, exact, Call.of(tokens, tokens), 3);
    }
    add(
        "in-place-ragged",
        EXACT,
        spec(F32, 4).activation(NONE),
        Call.of(2, 0, 5).ragged(2).inPlace(),
        4);
    add("wide-states", EXACT, spec(F32, 4).activation(NONE), Call.of(2, 2, 2), 9);
    add("mixed-types", RANDOM, spec(BF16, 4).weightType(F32).stateType(F32), Call.of(2, 2), 3);
    add("mixed-types", RANDOM, spec(F32, 4).stateType(BF16).weightType(F16), Call.of(2, 2), 4);
    add("mixed-types", RANDOM, spec(F16, 3).stateType(BF16), Call.of(1, 1), 4);
    rings();
    speculation();
    skipped();
    layouts();
    shapes();
    farRows();
    return cases.stream();
  }

  private void rings() {
    CausalConv1dSpec.Builder exact = spec(F32, 4).activation(NONE);
    add("ring-before-wrap", EXACT, exact, Call.of(1, 1, 1, 1).positions(0, 1, 3, 5), 7);
    add("ring-after-wrap", EXACT, exact, Call.of(3, 3, 3, 3).positions(5, 6, 7, 700001), 7);
    add("ring-longer-than-itself", EXACT, exact, Call.of(9, 9).positions(2, 11), 4);
    add("ring-as-wide-as-the-history", EXACT, exact, Call.of(2, 2, 2).positions(0, 1, 5), 3);
    add(
        "ring-at-the-last-positions",
        EXACT,
        exact,
        Call.of(3, 3).positions(Integer.MAX_VALUE, Integer.MAX_VALUE - 1),
        7);
    add("ring", RANDOM, spec(BF16, 4), Call.of(1, 1, 1).positions(9, 0, 31), 5);
    add("ring-ragged", RANDOM, spec(F16, 4), Call.of(1, 0, 4).ragged(2).positions(9, 0, 31), 5);
    add("ring-in-place", RANDOM, spec(F32, 4), Call.of(2, 2).inPlace().positions(9, 3), 5);
  }

  private void speculation() {
    CausalConv1dSpec.Builder exact = spec(F32, 4).activation(NONE);
    add("speculation", EXACT, exact, Call.of(3, 3, 3).accepted(1, 2, 3), 5);
    add("speculation-wide", EXACT, exact, Call.of(2, 2, 2, 2).accepted(1, 3, 6, 4), 8);
    add("speculation-one-token", EXACT, exact, Call.of(1, 1).accepted(1, 1), 3);
    add(
        "speculation-out-of-range",
        ADVERSARIAL,
        spec(F32, 4),
        Call.of(3, 3, 3, 3, 3, 3).accepted(0, -1, 4, 3, Integer.MIN_VALUE, Integer.MAX_VALUE),
        5);
    add(
        "speculation-ragged",
        EXACT,
        exact,
        Call.of(1, 0, 4, 3, 5).ragged(1).accepted(2, 1, 1, 4, 1),
        6); // the last sequence has more tokens than its slot takes: it is skipped
    add("speculation", RANDOM, spec(BF16, 4).bias(true), Call.of(3, 3, 3).accepted(1, 2, 3), 6);
    add(
        "speculation-in-place",
        RANDOM,
        spec(F32, 2),
        Call.of(3, 3, 3).inPlace().accepted(1, 2, 3).statePlacement(Placement.TRANSPOSED),
        4);
  }

  private void skipped() {
    add(
        "pads-and-slots-out-of-range",
        ADVERSARIAL,
        spec(F32, 4),
        Call.of(2, 2, 2, 2, 2).indices(0, -1, 7, -2, 3),
        3);
    add("pad-is-slot-0", RANDOM, spec(BF16, 4).padSlotId(0), Call.of(1, 1, 1).indices(2, 0, 1), 3);
    add("nan-in-other-slots", ADVERSARIAL, spec(F32, 4), Call.of(2, 2).nanBeyond(3), 5);
    CausalConv1dSpec spec = spec(F32, 4).build();
    Call call = Call.of(2, 2, 2).ragged(0);
    cases.add(
        start("bad-cu-seqlens", ADVERSARIAL, spec, call, 3)
            .runs(c -> {
              Launch launch = new Launch(c, spec, call, 3, new int[] {3, -9, 400, 1});
              CausalConv1d conv = c.tested().prepare(spec);
              Conv1dUpdate a = launch.arguments.apply(c.tested());
              c.launchOnce(stream -> conv.update(stream, a));
              c.require(true, "guards, inputs and the rest of memory are as they were");
            }));
  }

  private void layouts() {
    for (DataType type : new DataType[] {F32, BF16}) {
      Call transposed = Call.of(1, 1, 1).statePlacement(Placement.TRANSPOSED);
      add("channels-innermost", RAMP, spec(type, 4).activation(NONE), transposed, 3);
      for (Placement placement : new Placement[] {Placement.PITCHED, Placement.MISALIGNED}) {
        CausalConv1dSpec spec = spec(type, 4).bias(true).build();
        Call call = Call.of(2, 2, 2);
        cases.add(
            start(placement == Placement.PITCHED ? "pitched" : "misaligned", RANDOM, spec, call, 4)
                .placement(placement)
                .runs(c -> update(c, spec, call, 4)));
      }
    }
  }

  private void shapes() {
    add("no-sequences", ADVERSARIAL, spec(F32, 4), Call.of(), 3);
    add("no-tokens", ADVERSARIAL, spec(F32, 4), Call.of(0, 0), 3);
    add("no-tokens-ragged", ADVERSARIAL, spec(BF16, 4), Call.of(0, 0).ragged(3), 3);
    int[] many = new int[70];
    Arrays.fill(many, 1);
    add("many-slots", RANDOM, spec(F32, 4).channels(133), Call.of(many), 3);
    // As many as some backends give to a group in turn, the last group fewer.
    int[] more = new int[850];
    int[] slots = new int[more.length];
    Arrays.fill(more, 1);
    Arrays.setAll(slots, b -> b % 9 == 4 ? -1 : more.length - b);
    for (DataType type : new DataType[] {F32, BF16, F16}) {
      Call call = Call.of(more).indices(slots);
      add("many-slots", RANDOM, spec(type, 4).channels(264).bias(true), call, 3);
    }
    Call transposed = Call.of(more).indices(slots).inPlace().statePlacement(Placement.TRANSPOSED);
    add("many-slots", EXACT, spec(BF16, 4).channels(264).activation(NONE), transposed, 3);
    add("channels", RANDOM, spec(BF16, 4).channels(1), Call.of(1, 1), 3);
    add("values", LARGE, spec(F32, 4), Call.of(2, 2), 3);
    add("values", TINY, spec(F16, 4), Call.of(2, 2), 3);
  }

  /** Rows and slots beyond 2^32 elements. */
  private void farRows() {
    int[] slots = new int[64];
    Arrays.setAll(slots, b -> b % 9 == 4 ? -1 : 63 - b);
    int[] one = new int[slots.length];
    Arrays.fill(one, 1);
    int[] positions = new int[slots.length];
    Arrays.setAll(positions, b -> 5 * b);
    int[] ragged = new int[slots.length];
    Arrays.setAll(ragged, b -> b == 20 ? 0 : b == 60 ? 2 : 1);
    for (DataType type : new DataType[] {F32, BF16}) {
      CausalConv1dSpec spec = spec(type, 4).channels(72).bias(true).build();
      Call[] calls = {
        Call.of(one).indices(slots),
        Call.of(ragged).ragged(0).indices(slots).inPlace(),
        Call.of(one).indices(slots).positions(positions)
      };
      for (Call call : calls) {
        call.plan.slots(slots.length);
        cases.add(
            start(
                    call.plan.positions != null
                        ? "ring-beyond-2e32-elements"
                        : call.ragged ? "ragged-beyond-2e32-elements" : "beyond-2e32-elements",
                    RANDOM,
                    spec,
                    call,
                    3)
                .profiles(Profile.LARGE)
                .placement(Placement.FAR)
                .runs(c -> update(c, spec, call, 3)));
      }
    }
  }

  private static CausalConv1dSpec.Builder spec(DataType type, int width) {
    return Conv1dForwardCases.spec(type, width).channels(CHANNELS).modes(Mode.UPDATE);
  }

  private void add(
      String feature, Family family, CausalConv1dSpec.Builder builder, Call call, int columns) {
    CausalConv1dSpec spec = builder.build();
    cases.add(
        start(feature, family, spec, call, columns).runs(c -> update(c, spec, call, columns)));
  }

  private static ConformanceCase.Builder start(
      String feature, Family family, CausalConv1dSpec spec, Call call, int columns) {
    Conv1dPlan plan = call.plan;
    plan.states(columns);
    return ConformanceCase.of("conv1d.update", spec.dataType(), plan.text(spec), feature, family)
        .spec(spec)
        .profiles(Profile.PAGED)
        .flops(2L * plan.rows() * spec.channels() * spec.width());
  }

  /** What a call is beside its spec. Without {@link #ragged} all lengths are equal. */
  private static final class Call {
    private final Conv1dPlan plan;
    private boolean ragged;
    private boolean inPlace;
    private int @Nullable [] accepted;

    private Call(Conv1dPlan plan) {
      this.plan = plan;
    }

    static Call of(int... lengths) {
      return new Call(Conv1dPlan.of(lengths));
    }

    Call ragged(int padding) {
      ragged = true;
      plan.padding(padding);
      return this;
    }

    Call inPlace() {
      inPlace = true;
      return this;
    }

    Call indices(int... indices) {
      plan.indices(indices);
      return this;
    }

    Call positions(int... positions) {
      plan.positions(positions);
      return this;
    }

    Call accepted(int... accepted) {
      this.accepted = accepted.clone();
      return this;
    }

    Call statePlacement(Placement placement) {
      plan.statePlacement(placement);
      return this;
    }

    Call nanBeyond(int slot) {
      plan.stateValues(Values.normal(1).rows(0, 1, Double.NaN).rows(slot, plan.slots, Double.NaN));
      return this;
    }

    long[] shape(CausalConv1dSpec spec) {
      long each = plan.count() == 0 ? 1 : plan.lengths[0];
      return ragged
          ? new long[] {plan.rows(), spec.channels()}
          : new long[] {plan.count(), each, spec.channels()};
    }
  }

  /** A call's tensors. */
  private static final class Launch {
    private final Operand out;
    private final Operand states;
    private final Function<Side, Conv1dUpdate> arguments;

    Launch(CaseContext c, CausalConv1dSpec spec, Call call, int columns, int[] cuSeqlens) {
      Conv1dPlan plan = call.plan;
      CaseContext.TensorOf rows = c.tensor("x", spec.dataType(), call.shape(spec));
      if (call.ragged) {
        rows.values(plan.inputs(c).rows(plan.tokens(), plan.rows(), Double.NaN));
      }
      Operand x = call.inPlace ? rows.inout() : rows.input();
      out = call.inPlace ? x : c.tensor("out", spec.dataType(), call.shape(spec)).output();
      states = plan.states(c, "states", spec, plan.slots, columns).inout();
      Conv1dPlan.Weights weights = new Conv1dPlan.Weights(c, spec);
      Operand indices = c.ints("cacheIndices", plan.indices);
      Operand cu = call.ragged ? c.ints("cuSeqlens", cuSeqlens) : null;
      int[] at = plan.positions;
      Operand positions = at == null ? null : c.ints("cacheSeqlens", at);
      int[] taken = call.accepted;
      Operand accepted = taken == null ? null : c.ints("numAccepted", taken);
      arguments =
          s ->
              Conv1dUpdate.of(weights.on(s), s.of(x), s.of(states), s.of(indices), s.of(out))
                  .cuSeqlens(s.ofNullable(cu))
                  .cacheSeqlens(s.ofNullable(positions))
                  .numAccepted(s.ofNullable(accepted));
    }
  }

  private static void update(CaseContext c, CausalConv1dSpec spec, Call call, int columns) {
    Launch launch = new Launch(c, spec, call, columns, call.plan.cuSeqlens());
    CausalConv1d conv = c.tested().prepare(spec);
    Conv1dUpdate a = launch.arguments.apply(c.tested());
    c.launch(stream -> conv.update(stream, a));
    Map<String, Expected> expected =
        c.oracle().conv1dUpdate(spec, launch.arguments.apply(c.reference()));
    Conv1dPlan.check(c, spec, launch.out, expected.get("out"));
    c.check(launch.states, expected.get("states"));
  }
}
