package dev.weft.conformance.conv1d;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.conformance.CaseCatalogue;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.Family;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Placement;
import dev.weft.conformance.Profile;
import dev.weft.conformance.Side;
import dev.weft.conformance.Values;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.spi.Expected;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Causal conv1d with everything drawn at random: types, width, channels, lengths, layouts, states,
 * options. The suite's own cases try what is known to go wrong; these try what nobody thought of,
 * above all every pairing of a kernel variant with a layout. Not part of the suite: a backend with
 * many variants adds them to its own tests ({@code KernelProviderConformance.catalogues}).
 */
public final class RandomConv1dCases implements CaseCatalogue {
  private static final DataType[] TYPES = {DataType.F32, DataType.F16, DataType.BF16};
  private static final Mode[] MODES = {Mode.FORWARD, Mode.UPDATE, Mode.BACKWARD};
  private static final int[] CHANNELS = {1, 3, 8, 20, 34, 40, 64, 100, 136, 264, 1032, 2056};

  private final int count;

  /**
   * The first so many of one fixed sequence.
   *
   * @param count how many cases
   */
  public RandomConv1dCases(int count) {
    this.count = count;
  }

  @Override
  public Stream<ConformanceCase> cases() {
    return IntStream.range(0, count).mapToObj(RandomConv1dCases::draw);
  }

  private static ConformanceCase draw(int number) {
    SplittableRandom r = new SplittableRandom(number * 7919L + 17);
    Mode mode = MODES[number % MODES.length];
    DataType type = TYPES[r.nextInt(3)];
    Family family =
        switch (r.nextInt(8)) {
          case 0, 1 -> Family.EXACT;
          case 2 -> Family.RAMP;
          case 3 -> Family.LARGE;
          case 4 -> Family.TINY;
          default -> Family.RANDOM;
        };
    boolean plainTypes = r.nextInt(3) > 0;
    CausalConv1dSpec spec =
        CausalConv1dSpec.builder()
            .dataType(type)
            .weightType(plainTypes ? type : TYPES[r.nextInt(3)])
            .stateType(plainTypes ? type : TYPES[r.nextInt(3)])
            .channels(CHANNELS[r.nextInt(CHANNELS.length)])
            .width(r.nextInt(3) > 0 ? 4 : 2 + r.nextInt(7))
            .bias(r.nextBoolean())
            .activation(
                family == Family.EXACT || r.nextInt(4) == 0 ? Activation.NONE : Activation.SILU)
            .padSlotId(r.nextInt(4) == 0 ? 2 : -1)
            .workspaceLimit(r.nextInt(4) == 0 ? 1 : Long.MAX_VALUE)
            .modes(mode)
            .build();
    if (r.nextInt(4) == 0) {
      spec = spec.toBuilder().gradientType(spec.weightType()).build();
    }
    CausalConv1dSpec drawn = spec;
    Placement placement =
        new Placement[] {
              Placement.CONTIGUOUS, Placement.CONTIGUOUS, Placement.PITCHED, Placement.MISALIGNED
            }
            [r.nextInt(4)];
    long seed = r.nextLong();
    return ConformanceCase.of(
            "conv1d." + mode.name().toLowerCase(java.util.Locale.ROOT),
            type,
            "W=" + spec.width() + ",C=" + spec.channels() + "," + placement,
            "random-" + number,
            family)
        .spec(spec)
        .placement(placement)
        .profiles(mode == Mode.BACKWARD ? Profile.TRAINING : Profile.PAGED)
        .runs(c -> new Case(c, drawn, new SplittableRandom(seed)).run(mode));
  }

  /** One case as it runs. */
  private static final class Case {
    private final CaseContext c;
    private final CausalConv1dSpec spec;
    private final SplittableRandom r;
    private final int width;
    private final long channels;
    private final Operand weight;
    private final @Nullable Operand bias;

    Case(CaseContext c, CausalConv1dSpec spec, SplittableRandom r) {
      this.c = c;
      this.spec = spec;
      this.r = r;
      this.width = spec.width();
      this.channels = spec.channels();
      this.weight = c.tensor("weight", spec.weightType(), channels, width).input();
      this.bias = spec.bias() ? c.tensor("bias", spec.weightType(), channels).input() : null;
    }

    void run(Mode mode) {
      switch (mode) {
        case FORWARD -> forward();
        case UPDATE -> update();
        case BACKWARD -> backward();
      }
    }

    private Conv1dBinding weights(Side side) {
      return side.once(
          "weights", () -> side.prepare(spec).bind(side.of(weight), side.ofNullable(bias)));
    }

    private int[] lengths(int sequences) {
      int[] lengths = new int[sequences];
      int longest = new int[] {1, 3, 9, 40, 150}[r.nextInt(5)];
      for (int b = 0; b < sequences; b++) {
        lengths[b] = r.nextInt(5) == 0 ? 0 : r.nextInt(longest + 1);
      }
      return lengths;
    }

    private static int[] starts(int[] lengths) {
      int[] starts = new int[lengths.length + 1];
      for (int b = 0; b < lengths.length; b++) {
        starts[b + 1] = starts[b] + lengths[b];
      }
      return starts;
    }

    private Values values(long real, long rows) {
      return c.testCase().family().draws().rows(real, rows, Double.NaN);
    }

    /** Distinct slots, with some sequences skipped by the pad id or a slot that is not there. */
    private int[] slots(int sequences, int count) {
      int[] free = IntStream.range(0, count).filter(slot -> slot != spec.padSlotId()).toArray();
      int left = free.length;
      int[] slots = new int[sequences];
      for (int b = 0; b < sequences; b++) {
        int at = r.nextInt(left);
        slots[b] =
            switch (r.nextInt(8)) {
              case 0 -> spec.padSlotId();
              case 1 -> count + 3;
              default -> free[at];
            };
        if (slots[b] == free[at]) {
          free[at] = free[--left];
        }
      }
      return slots;
    }

    private int[] bits(int sequences) {
      return IntStream.range(0, sequences).map(b -> r.nextInt(2)).toArray();
    }

    private int[] positions(int sequences) {
      return IntStream.range(0, sequences)
          .map(b -> r.nextBoolean() ? r.nextInt(width) : 1_000_000 + r.nextInt(100))
          .toArray();
    }

    private Placement stateLayout() {
      return r.nextBoolean() ? c.testCase().placement() : Placement.TRANSPOSED;
    }

    private Operand states(int slots, int columns) {
      return c.tensor("states", spec.stateType(), slots, channels, columns)
          .placement(stateLayout())
          .inout();
    }

    private void forward() {
      int sequences = r.nextInt(8) == 0 ? 150 : 1 + r.nextInt(7);
      int[] lengths = lengths(sequences);
      int[] starts = starts(lengths);
      long real = starts[sequences];
      long rows = real + r.nextInt(4);
      Operand x = c.tensor("x", spec.dataType(), rows, channels).values(values(real, rows)).input();
      Operand cu = c.ints("cuSeqlens", starts);
      Operand out = c.tensor("out", spec.dataType(), rows, channels).output();
      boolean stateful = r.nextInt(5) > 0;
      boolean ring = stateful && r.nextInt(3) == 0;
      int columns = width - 1 + (r.nextBoolean() ? 0 : r.nextInt(4));
      int slots = sequences + 3;
      Operand states = stateful ? states(slots, columns) : null;
      Operand indices = stateful ? c.ints("cacheIndices", slots(sequences, slots)) : null;
      Operand initial = stateful ? c.flags("hasInitialState", bits(sequences)) : null;
      Operand positions = ring ? c.ints("cacheSeqlens", positions(sequences)) : null;
      Operand initialOut =
          stateful && r.nextBoolean()
              ? c.tensor("initialStatesOut", spec.stateType(), sequences, channels, width - 1)
                  .output()
              : null;
      Map<String, Expected> expected =
          c.oracle()
              .conv1dForward(
                  spec,
                  forward(
                      c.reference(), x, cu, out, states, indices, initial, positions, initialOut));
      Conv1dForward a =
          forward(c.tested(), x, cu, out, states, indices, initial, positions, initialOut);
      c.launch(stream -> c.tested().prepare(spec).forward(stream, a));
      check(out, expected.get("out"));
      if (states != null) {
        c.check(states, expected.get("states"));
      }
      if (initialOut != null) {
        c.check(initialOut, expected.get("initialStatesOut"));
      }
    }

    private Conv1dForward forward(
        Side side,
        Operand x,
        Operand cu,
        Operand out,
        @Nullable Operand states,
        @Nullable Operand indices,
        @Nullable Operand initial,
        @Nullable Operand positions,
        @Nullable Operand initialOut) {
      return Conv1dForward.of(weights(side), side.of(x), side.of(cu), side.of(out))
          .states(side.ofNullable(states))
          .cacheIndices(side.ofNullable(indices))
          .hasInitialState(side.ofNullable(initial))
          .cacheSeqlens(side.ofNullable(positions))
          .initialStatesOut(side.ofNullable(initialOut));
    }

    private void check(Operand got, @Nullable Expected expected) {
      if (c.testCase().family() == Family.EXACT) {
        c.checkExact(got, expected);
      } else {
        c.check(got, expected);
      }
    }

    private void update() {
      int sequences = r.nextInt(4) == 0 ? 40 : 1 + r.nextInt(6);
      boolean ragged = r.nextInt(3) == 0;
      boolean inPlace = r.nextInt(3) == 0;
      int length = r.nextBoolean() ? 1 : 1 + r.nextInt(5);
      int[] lengths =
          ragged
              ? IntStream.range(0, sequences).map(b -> r.nextInt(length + 1)).toArray()
              : new int[0];
      int[] starts = starts(lengths);
      long real = ragged ? starts[sequences] : sequences;
      long rows = real + (ragged ? r.nextInt(3) : 0);
      long[] shape =
          ragged ? new long[] {rows, channels} : new long[] {sequences, length, channels};
      CaseContext.TensorOf input =
          c.tensor("x", spec.dataType(), shape).values(values(ragged ? real : rows, rows));
      Operand x = inPlace ? input.inout() : input.input();
      Operand out = inPlace ? x : c.tensor("out", spec.dataType(), shape).output();
      Operand cu = ragged ? c.ints("cuSeqlens", starts) : null;
      int form = r.nextInt(4);
      int columns =
          form == 3 ? width - 2 + length + r.nextInt(3) : width - 1 + r.nextInt(2) * r.nextInt(6);
      columns = Math.max(columns, width - 1);
      int slots = sequences + 3;
      int most = columns - width + 2;
      Operand states = states(slots, columns);
      Operand indices = c.ints("cacheIndices", slots(sequences, slots));
      Operand positions = form == 2 ? c.ints("cacheSeqlens", positions(sequences)) : null;
      Operand accepted =
          form == 3
              ? c.ints(
                  "numAccepted",
                  IntStream.range(0, sequences).map(b -> r.nextInt(most + 2)).toArray())
              : null;
      Map<String, Expected> expected =
          c.oracle()
              .conv1dUpdate(
                  spec, update(c.reference(), x, states, indices, out, cu, positions, accepted));
      Conv1dUpdate a = update(c.tested(), x, states, indices, out, cu, positions, accepted);
      c.launch(stream -> c.tested().prepare(spec).update(stream, a));
      if (!inPlace || !ragged) {
        check(out, expected.get("out"));
      }
      c.check(states, expected.get("states"));
    }

    private Conv1dUpdate update(
        Side side,
        Operand x,
        Operand states,
        Operand indices,
        Operand out,
        @Nullable Operand cu,
        @Nullable Operand positions,
        @Nullable Operand accepted) {
      Tensor input = side.of(x);
      return Conv1dUpdate.of(
              weights(side),
              input,
              side.of(states),
              side.of(indices),
              out == x ? input : side.of(out))
          .cuSeqlens(side.ofNullable(cu))
          .cacheSeqlens(side.ofNullable(positions))
          .numAccepted(side.ofNullable(accepted));
    }

    private void backward() {
      int sequences = r.nextInt(8) == 0 ? 150 : 1 + r.nextInt(7);
      int[] lengths = lengths(sequences);
      int[] starts = starts(lengths);
      long real = starts[sequences];
      long rows = real + r.nextInt(4);
      DataType type = spec.dataType();
      DataType stateType = spec.stateType();
      Operand x = c.tensor("x", type, rows, channels).values(values(real, rows)).input();
      Operand dout = c.tensor("dout", type, rows, channels).values(values(real, rows)).input();
      Operand cu = c.ints("cuSeqlens", starts);
      boolean stateful = r.nextBoolean();
      boolean initial = stateful && r.nextInt(4) > 0;
      Operand indices =
          stateful && r.nextBoolean()
              ? c.ints("cacheIndices", slots(sequences, sequences + 3))
              : null;
      Operand history = initial ? stateTensor("initialStates", stateType, sequences).input() : null;
      Operand had = initial ? c.flags("hasInitialState", bits(sequences)) : null;
      Operand dfinal =
          stateful && r.nextInt(4) > 0
              ? stateTensor("dfinalStates", stateType, sequences).input()
              : null;
      Operand dinitial =
          r.nextInt(3) > 0 ? stateTensor("dinitialStates", stateType, sequences).output() : null;
      boolean accumulate = r.nextInt(3) == 0;
      Operand dx =
          dinitial == null || r.nextInt(5) > 0
              ? c.tensor("dx", type, rows, channels).output()
              : null;
      Operand dweight = r.nextInt(5) > 0 ? parameter("dweight", accumulate, channels, width) : null;
      Operand dbias =
          spec.bias() && r.nextInt(4) > 0 ? parameter("dbias", accumulate, channels) : null;
      Map<String, Expected> expected =
          c.oracle()
              .conv1dBackward(
                  spec,
                  backward(
                      c.reference(),
                      x,
                      cu,
                      dout,
                      indices,
                      history,
                      had,
                      dfinal,
                      dx,
                      dweight,
                      dbias,
                      dinitial,
                      accumulate));
      Conv1dBackward a =
          backward(
              c.tested(),
              x,
              cu,
              dout,
              indices,
              history,
              had,
              dfinal,
              dx,
              dweight,
              dbias,
              dinitial,
              accumulate);
      c.launch(stream -> c.tested().prepare(spec).backward(stream, a));
      for (Operand gradient : new @Nullable Operand[] {dx, dweight, dbias, dinitial}) {
        if (gradient != null) {
          check(gradient, expected.get(gradient.name()));
        }
      }
    }

    private CaseContext.TensorOf stateTensor(String name, DataType type, int sequences) {
      return c.tensor(name, type, sequences, channels, width - 1).placement(stateLayout());
    }

    private Operand parameter(String name, boolean accumulate, long... shape) {
      CaseContext.TensorOf tensor = c.tensor(name, spec.gradientType(), shape);
      return accumulate ? tensor.inout() : tensor.output();
    }

    private Conv1dBackward backward(
        Side side,
        Operand x,
        Operand cu,
        Operand dout,
        @Nullable Operand indices,
        @Nullable Operand history,
        @Nullable Operand had,
        @Nullable Operand dfinal,
        @Nullable Operand dx,
        @Nullable Operand dweight,
        @Nullable Operand dbias,
        @Nullable Operand dinitial,
        boolean accumulate) {
      return Conv1dBackward.of(weights(side), side.of(x), side.of(cu), side.of(dout))
          .cacheIndices(side.ofNullable(indices))
          .initialStates(side.ofNullable(history))
          .hasInitialState(side.ofNullable(had))
          .dfinalStates(side.ofNullable(dfinal))
          .dx(side.ofNullable(dx))
          .dweight(side.ofNullable(dweight))
          .dbias(side.ofNullable(dbias))
          .dinitialStates(side.ofNullable(dinitial))
          .accumulate(accumulate);
    }
  }
}
