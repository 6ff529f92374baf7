package dev.weft.conformance.conv1d;

import static dev.weft.DataType.BF16;
import static dev.weft.DataType.F16;
import static dev.weft.DataType.F32;
import static dev.weft.conformance.Family.EXACT;
import static dev.weft.conformance.Family.RANDOM;
import static dev.weft.conv1d.Activation.NONE;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.Family;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Profile;
import dev.weft.conformance.Side;
import dev.weft.conv1d.CausalConv1d;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.spi.Expected;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Several launches that must come to what one launch over the whole gives: a decoded row equals its
 * prefilled row, and chunks equal the whole, states included.
 */
final class Conv1dChainCases {
  private static final int SEQUENCES = 2;

  private final List<ConformanceCase> cases = new ArrayList<>();

  /** How a piece of the tokens is computed. */
  private enum Step {
    FORWARD,
    UPDATE
  }

  Stream<ConformanceCase> cases() {
    for (DataType type : new DataType[] {F32, BF16, F16}) {
      decode("decode-equals-prefill", RANDOM, spec(type), 9, 3, false);
    }
    CausalConv1dSpec.Builder exact = spec(F32).activation(NONE);
    decode("decode-equals-prefill", EXACT, exact, 9, 3, false);
    decode("decode-equals-prefill", EXACT, exact, 11, 6, false);
    decode("ring-decode-equals-prefill", EXACT, exact, 11, 3, true);
    decode("ring-decode-equals-prefill", EXACT, exact, 19, 7, true);
    decode("ring-decode-equals-prefill", RANDOM, spec(BF16), 9, 5, true);
    int[] ones = new int[10];
    Arrays.fill(ones, 1);
    for (boolean ring : new boolean[] {false, true}) {
      String prefix = ring ? "ring-" : "";
      chain(prefix + "chunks-of-1", EXACT, exact, Step.FORWARD, ones, 5, ring);
      chain(prefix + "chunks-of-7", EXACT, exact, Step.FORWARD, new int[] {7, 7, 6}, 3, ring);
      chain(prefix + "chunks-of-7", RANDOM, spec(BF16), Step.FORWARD, new int[] {7, 7, 2}, 4, ring);
      chain(prefix + "mixed-updates", EXACT, exact, Step.UPDATE, new int[] {1, 4, 2, 3}, 4, ring);
    }
    chain("chunks-of-256", RANDOM, spec(F32), Step.FORWARD, new int[] {256, 256, 1, 90}, 3, false);
    speculate(RANDOM, spec(F32));
    speculate(EXACT, spec(BF16).activation(NONE));
    return cases.stream();
  }

  private static CausalConv1dSpec.Builder spec(DataType type) {
    return Conv1dForwardCases.spec(type, 4).modes(Mode.FORWARD, Mode.UPDATE);
  }

  private void decode(
      String feature,
      Family family,
      CausalConv1dSpec.Builder builder,
      int tokens,
      int columns,
      boolean ring) {
    int[] ones = new int[tokens];
    Arrays.fill(ones, 1);
    chain(feature, family, builder, Step.UPDATE, ones, columns, ring);
  }

  private void chain(
      String feature,
      Family family,
      CausalConv1dSpec.Builder builder,
      Step step,
      int[] pieces,
      int columns,
      boolean ring) {
    CausalConv1dSpec spec = builder.build();
    int tokens = Arrays.stream(pieces).sum();
    ConformanceCase.Builder start = start(step, feature, family, spec, tokens, columns);
    cases.add(start.runs(c -> new Whole(c, spec, tokens, columns, ring).inPieces(step, pieces)));
  }

  private void speculate(Family family, CausalConv1dSpec.Builder builder) {
    CausalConv1dSpec spec = builder.build();
    cases.add(
        start(Step.UPDATE, "speculation-equals-prefill", family, spec, 5, 5)
            .runs(c -> speculation(c, spec)));
  }

  private static ConformanceCase.Builder start(
      Step step, String feature, Family family, CausalConv1dSpec spec, int tokens, int columns) {
    String sizes = "C=" + spec.channels() + ",W=" + spec.width() + ",T=" + tokens + ",S=" + columns;
    ConformanceCase.Builder builder =
        ConformanceCase.of(
                step == Step.UPDATE ? "conv1d.update" : "conv1d.forward",
                spec.dataType(),
                sizes,
                feature,
                family)
            .spec(spec)
            .flops(2L * SEQUENCES * tokens * spec.channels() * spec.width());
    return builder.profiles(Profile.PAGED); // forward cases too: their spec has updates
  }

  /** Two sequences, one after the other in x, computed at once by the oracle. */
  private static final class Whole {
    private final CaseContext c;
    private final CausalConv1dSpec spec;
    private final int tokens;
    private final Conv1dPlan.Weights weights;
    private final HostTensor x;
    private final Operand states;
    private final Operand indices;
    private final Operand initial;
    private final @Nullable Operand positions;
    private final Map<String, Expected> expected;

    Whole(CaseContext c, CausalConv1dSpec spec, int tokens, int columns, boolean ring) {
      this.c = c;
      this.spec = spec;
      this.tokens = tokens;
      weights = new Conv1dPlan.Weights(c, spec);
      long rows = (long) SEQUENCES * tokens;
      Operand whole = c.tensor("x", spec.dataType(), rows, spec.channels()).input();
      Operand out = c.tensor("whole", spec.dataType(), rows, spec.channels()).output();
      Operand cu = c.ints("cuSeqlens", 0, tokens, 2 * tokens);
      x = c.read(whole);
      states = c.tensor("states", spec.stateType(), 4, spec.channels(), columns).inout();
      indices = c.ints("cacheIndices", 2, 1);
      initial = c.flags("hasInitialState", 1, 1);
      positions = ring ? c.ints("cacheSeqlens", 5, 12) : null;
      Side s = c.reference();
      expected =
          c.oracle()
              .conv1dForward(
                  spec,
                  Conv1dForward.of(weights.on(s), s.of(whole), s.of(cu), s.of(out))
                      .states(s.of(states))
                      .cacheIndices(s.of(indices))
                      .hasInitialState(s.of(initial))
                      .cacheSeqlens(s.ofNullable(positions)));
    }

    void inPieces(Step step, int[] pieces) {
      int done = 0;
      for (int i = 0; i < pieces.length; i++) {
        if (positions != null) {
          c.overwrite(positions, HostTensor.ofInts(new int[] {5 + done, 12 + done}, 2));
        }
        Operand out = launch(step, i, done, pieces[i]);
        Conv1dPlan.check(c, spec, out, rows(done, pieces[i]));
        done += pieces[i];
      }
      c.check(states, expected.get("states"));
    }

    private Operand launch(Step step, int number, int first, int count) {
      CausalConv1d conv = c.tested().prepare(spec);
      Side s = c.tested();
      long channels = spec.channels();
      boolean update = step == Step.UPDATE;
      long[] shape =
          update
              ? new long[] {SEQUENCES, count, channels}
              : new long[] {(long) SEQUENCES * count, channels};
      HostTensor piece = HostTensor.allocate(spec.dataType(), shape);
      for (int row = 0; row < SEQUENCES * count; row++) {
        for (int channel = 0; channel < channels; channel++) {
          long from = (long) row / count * tokens + first + row % count;
          piece.set(row * channels + channel, x.get(from * channels + channel));
        }
      }
      Operand in = c.tensor("x" + number, spec.dataType(), shape).host(piece).input();
      Operand out = c.tensor("out" + number, spec.dataType(), shape).output();
      if (update) {
        Conv1dUpdate a =
            Conv1dUpdate.of(weights.on(s), s.of(in), s.of(states), s.of(indices), s.of(out))
                .cacheSeqlens(s.ofNullable(positions));
        c.launch(stream -> conv.update(stream, a));
      } else {
        Operand cu = c.ints("cuSeqlens" + number, 0, count, 2 * count);
        Conv1dForward a =
            Conv1dForward.of(weights.on(s), s.of(in), s.of(cu), s.of(out))
                .states(s.of(states))
                .cacheIndices(s.of(indices))
                .hasInitialState(s.of(initial))
                .cacheSeqlens(s.ofNullable(positions));
        c.launch(stream -> conv.forward(stream, a));
      }
      // What was written stays as it is from here on.
      c.settle(out);
      return out;
    }

    /** What the whole says of a piece's rows. */
    private Expected rows(int first, int count) {
      return Conv1dChainCases.rows(
          Objects.requireNonNull(expected.get("out")), spec.channels(), tokens, first, count);
    }
  }

  private static Expected rows(Expected whole, int channels, int tokens, int first, int count) {
    int size = SEQUENCES * count * channels;
    double[] value = new double[size];
    double[] error = new double[size];
    double[] rms = new double[size];
    for (int b = 0; b < SEQUENCES; b++) {
      int from = (b * tokens + first) * channels;
      int to = b * count * channels;
      System.arraycopy(whole.value(), from, value, to, count * channels);
      System.arraycopy(whole.error(), from, error, to, count * channels);
      System.arraycopy(whole.rms(), from, rms, to, count * channels);
    }
    return new Expected(value, error, rms);
  }

  /**
   * Drafts a, b, c, of which a and b are accepted, then d, e, f: the same as the whole a, b, d, e,
   * f.
   */
  private static void speculation(CaseContext c, CausalConv1dSpec spec) {
    int channels = spec.channels();
    int history = spec.width() - 1;
    int columns = 5;
    int tokens = 5;
    Conv1dPlan.Weights weights = new Conv1dPlan.Weights(c, spec);
    Operand first = c.tensor("abc", spec.dataType(), SEQUENCES, 3, channels).input();
    Operand second = c.tensor("def", spec.dataType(), SEQUENCES, 3, channels).input();
    Operand states = c.tensor("states", spec.stateType(), SEQUENCES, channels, columns).inout();
    HostTensor x = HostTensor.allocate(spec.dataType(), (long) SEQUENCES * tokens, channels);
    for (int b = 0; b < SEQUENCES; b++) {
      for (int t = 0; t < tokens; t++) {
        for (int channel = 0; channel < channels; channel++) {
          HostTensor from = c.read(t < 2 ? first : second);
          int token = t < 2 ? t : t - 2;
          x.set(
              ((long) b * tokens + t) * channels + channel,
              from.get(((long) b * 3 + token) * channels + channel));
        }
      }
    }
    HostTensor before = HostTensor.allocate(spec.stateType(), SEQUENCES, channels, history);
    for (int row = 0; row < SEQUENCES * channels; row++) {
      for (int j = 0; j < history; j++) {
        before.set((long) row * history + j, c.read(states).get((long) row * columns + j));
      }
    }
    Operand whole = c.tensor("x", spec.dataType(), x.shape()).host(x).input();
    Operand wholeOut = c.tensor("whole", spec.dataType(), x.shape()).output();
    Operand wholeStates =
        c.tensor("history", spec.stateType(), before.shape()).host(before).inout();
    Operand cu = c.ints("cuSeqlens", 0, tokens, 2 * tokens);
    Operand indices = c.ints("cacheIndices", 0, 1);
    Operand initial = c.flags("hasInitialState", 1, 1);
    Side r = c.reference();
    Expected expected =
        Objects.requireNonNull(
            c.oracle()
                .conv1dForward(
                    spec,
                    Conv1dForward.of(weights.on(r), r.of(whole), r.of(cu), r.of(wholeOut))
                        .states(r.of(wholeStates))
                        .cacheIndices(r.of(indices))
                        .hasInitialState(r.of(initial)))
                .get("out"));
    Operand accepted = c.ints("numAccepted", 1, 1);
    Side s = c.tested();
    CausalConv1d conv = s.prepare(spec);
    Operand[] drafts = {first, second};
    for (int i = 0; i < 2; i++) {
      Operand out = c.tensor("out" + i, spec.dataType(), SEQUENCES, 3, channels).output();
      Conv1dUpdate a =
          Conv1dUpdate.of(weights.on(s), s.of(drafts[i]), s.of(states), s.of(indices), s.of(out))
              .numAccepted(s.of(accepted));
      c.launch(stream -> conv.update(stream, a));
      if (i == 0) {
        Expected drafted = rows(expected, channels, tokens, 0, 3);
        for (int b = 0; b < SEQUENCES; b++) { // c is not in the whole: anything but NaN
          int rejected = (b * 3 + 2) * channels;
          Arrays.fill(drafted.error(), rejected, rejected + channels, Double.POSITIVE_INFINITY);
        }
        Conv1dPlan.check(c, spec, out, drafted);
        c.settle(out);
        c.overwrite(accepted, HostTensor.ofInts(new int[] {2, 2}, 2));
      } else {
        Conv1dPlan.check(c, spec, out, rows(expected, channels, tokens, 2, 3));
      }
    }
  }
}
