package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cuda.CudaProvider;
import dev.weft.conformance.CaseCatalogue;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.CaseOutcome;
import dev.weft.conformance.CaseStatus;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.ConformanceRun;
import dev.weft.conformance.Family;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Placement;
import dev.weft.conformance.Side;
import dev.weft.conformance.Values;
import dev.weft.moe.ExpertActivation;
import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeBinding;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeDispatchSpec.Mode;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.Source;
import dev.weft.spi.Expected;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * MoE forward with everything drawn at random, at sizes that fill several tiles of every kernel and
 * take both forms of the sort. The suite's own cases are small and try what is known to go wrong.
 */
public final class RandomMoeCases implements CaseCatalogue {
  private static final DataType[] TYPES = {
    DataType.BF16, DataType.BF16, DataType.F16, DataType.F32
  };
  private static final int[] HIDDEN = {8, 30, 64, 136, 264, 384};
  private static final int[] WIDTHS = {7, 24, 64, 72, 160, 256};
  private static final int[] EXPERTS = {1, 3, 8, 16, 64, 300};
  private static final int[] TOKENS = {1, 2, 9, 33, 70, 150, 300};

  private final int first;
  private final int count;

  /** So many cases. */
  public RandomMoeCases(int count) {
    this(0, count);
  }

  private RandomMoeCases(int first, int count) {
    this.first = first;
    this.count = count;
  }

  @Override
  public Stream<ConformanceCase> cases() {
    return IntStream.range(first, first + count).mapToObj(RandomMoeCases::draw);
  }

  private static <T> T any(SplittableRandom r, List<T> values) {
    return values.get(r.nextInt(values.size()));
  }

  private static int any(SplittableRandom r, int[] values) {
    return values[r.nextInt(values.length)];
  }

  private static ConformanceCase draw(int number) {
    SplittableRandom r = new SplittableRandom(number * 7919L + 29);
    DataType type = TYPES[r.nextInt(TYPES.length)];
    boolean plain = r.nextInt(4) > 0;
    int experts = any(r, EXPERTS);
    boolean given = r.nextInt(3) == 0;
    ExpertActivation activation = any(r, List.of(ExpertActivation.values()));
    // Many slots of little work each, so that the sort takes several blocks.
    boolean many = number % 16 == 0;
    int hidden = many ? 8 : any(r, HIDDEN);
    int first = r.nextInt(3) == 0 ? r.nextInt(experts) : 0;
    MoeDispatchSpec spec =
        MoeDispatchSpec.builder()
            .dataType(type)
            .weightType(plain ? type : TYPES[r.nextInt(TYPES.length)])
            .routerType(plain ? type : DataType.F32)
            .hidden(hidden)
            .intermediate(many ? 7 : any(r, WIDTHS))
            .experts(experts)
            .topK(many ? Math.min(experts, 8) : 1 + r.nextInt(Math.min(experts, 6)))
            .router(
                given
                    ? RouterSpec.builder().source(Source.GIVEN).build()
                    : RouterSpec.builder()
                        .score(RouterSpec.Score.SIGMOID)
                        .correctionBias(r.nextBoolean())
                        .normalize(RouterSpec.Normalize.SUM)
                        .build())
            .activation(activation)
            .gateUpLayout(
                activation.isGated()
                    ? any(r, List.of(GateUpLayout.values()))
                    : GateUpLayout.GATE_FIRST)
            .expertBias(r.nextBoolean())
            .sharedIntermediate(r.nextInt(3) == 0 ? any(r, WIDTHS) : 0)
            .firstExpert(first)
            .workspaceLimit(r.nextInt(4) == 0 ? 1 : Long.MAX_VALUE)
            .build();
    if (spec.sharedIntermediate() > 0) {
      spec = spec.toBuilder().sharedGate(r.nextBoolean()).build();
    }
    if (r.nextInt(3) == 0) {
      spec = spec.toBuilder().modes(Mode.FORWARD, Mode.BACKWARD).build();
    }
    MoeDispatchSpec drawn = spec;
    int tokens = many ? 2100 + r.nextInt(400) : any(r, TOKENS);
    int present = r.nextInt(4) == 0 ? r.nextInt(tokens + 1) : -1;
    Placement placement =
        new Placement[] {
              Placement.CONTIGUOUS, Placement.CONTIGUOUS, Placement.PITCHED, Placement.MISALIGNED
            }
            [r.nextInt(4)];
    return ConformanceCase.of(
            "moe.forward",
            type,
            "T=" + tokens + ",present=" + present + "," + placement,
            "random-" + number,
            Family.RANDOM)
        .spec(spec)
        .placement(placement)
        .runs(c -> new Case(c, drawn, tokens, present).run());
  }

  /** One case as it runs. */
  private static final class Case {
    private final CaseContext c;
    private final MoeDispatchSpec spec;
    private final int tokens;
    private final int rows;
    private final Map<String, Operand> operands = new LinkedHashMap<>();

    Case(CaseContext c, MoeDispatchSpec spec, int tokens, int present) {
      this.c = c;
      this.spec = spec;
      this.tokens = tokens;
      this.rows = present < 0 ? tokens : present;
      if (present >= 0) {
        operands.put("tokenCount", c.ints("tokenCount", present));
      }
    }

    private void input(String name, DataType type, double scale, long... shape) {
      operands.put(name, c.tensor(name, type, shape).values(Values.normal(scale)).input());
    }

    private void padded(String name, DataType type, Values values, long columns) {
      operands.put(
          name,
          c.tensor(name, type, tokens, columns)
              .values(values.rows(rows, tokens, name.equals("givenIds") ? 1 << 30 : Double.NaN))
              .input());
    }

    private void output(String name, DataType type, long... shape) {
      operands.put(name, c.tensor(name, type, shape).output());
    }

    private @Nullable Tensor on(Side side, String name) {
      return side.ofNullable(operands.get(name));
    }

    private Tensor required(Side side, String name) {
      return Objects.requireNonNull(on(side, name), name);
    }

    void run() {
      tensors();
      MoeForward a = forward(c.tested());
      c.launch(stream -> c.tested().prepare(spec).forward(stream, a));
      Tensor reported = null;
      if (spec.router().hasLogits()) {
        c.settle(Objects.requireNonNull(operands.get("ids")));
        if (saves()) {
          c.settle(Objects.requireNonNull(operands.get("saved.ids")));
        }
        reported = required(c.reference(), "ids");
        c.requireNoFault(c.oracle().moeSelectionFault(spec, forward(c.reference()), reported));
      }
      Map<String, Expected> expected =
          c.oracle().moeForward(spec, forward(c.reference()), reported);
      for (String name :
          new String[] {
            "counts",
            "logits",
            "routingWeights",
            "saved.permutation",
            "saved.logits",
            "saved.routingWeights",
            "saved.z",
            "y"
          }) {
        Operand output = operands.get(name);
        if (output != null) {
          c.check(output, expected.get(name));
        }
      }
    }

    private void tensors() {
      DataType weight = spec.weightType();
      long count = spec.localExperts();
      double project = 1 / Math.sqrt(spec.hidden());
      input(
          "down",
          weight,
          1 / Math.sqrt(spec.intermediate()),
          count,
          spec.hidden(),
          spec.intermediate());
      if (spec.gateUpLayout() == GateUpLayout.SEPARATE) {
        input("gate", weight, project, count, spec.intermediate(), spec.hidden());
        input("up", weight, project, count, spec.intermediate(), spec.hidden());
      } else {
        input("gateUp", weight, project, count, spec.projected(), spec.hidden());
      }
      if (spec.expertBias()) {
        input("gateUpBias", weight, 0.5, count, spec.projected());
        input("downBias", weight, 0.5, count, spec.hidden());
      }
      if (spec.sharedIntermediate() > 0) {
        input("sharedGateUp", weight, project, spec.sharedProjected(), spec.hidden());
        input("sharedDown", weight, 0.2, spec.hidden(), spec.sharedIntermediate());
      }
      if (spec.sharedGate()) {
        input("sharedGateWeight", spec.routerType(), project, 1, spec.hidden());
      }
      padded("x", spec.dataType(), Values.normal(1), spec.hidden());
      if (spec.router().source() == Source.GIVEN) {
        padded(
            "givenIds",
            DataType.I32,
            Values.each((draw, i) -> draw.below(i, spec.experts() + 2) - 1),
            spec.topK());
        padded("givenWeights", DataType.F32, Values.uniform(0.05, 1), spec.topK());
      } else {
        input("routerWeight", spec.routerType(), 1.5 * project, spec.experts(), spec.hidden());
        if (spec.router().correctionBias()) {
          input("correctionBias", DataType.F32, 0.2, spec.experts());
        }
        output("ids", DataType.I32, tokens, spec.topK());
        output("routingWeights", DataType.F32, tokens, spec.topK());
        output("logits", DataType.F32, tokens, spec.experts());
      }
      output("counts", DataType.I32, spec.experts());
      if (saves()) {
        output("saved.ids", DataType.I32, tokens, spec.topK());
        output("saved.routingWeights", DataType.F32, tokens, spec.topK());
        output("saved.permutation", DataType.I32, (long) tokens * spec.topK());
        output("saved.z", spec.dataType(), (long) tokens * spec.topK(), spec.projected());
        if (spec.router().hasLogits()) {
          output("saved.logits", DataType.F32, tokens, spec.experts());
        }
      }
      output("y", spec.dataType(), tokens, spec.hidden());
    }

    /** What is saved says where each slot's row lies, in groups of tokens too. */
    private boolean saves() {
      return spec.modes().contains(Mode.BACKWARD);
    }

    private MoeForward forward(Side side) {
      MoeBinding weights =
          side.once(
              "weights",
              () ->
                  side.prepare(spec)
                      .bind(
                          MoeWeights.of(required(side, "down"))
                              .gateUp(on(side, "gateUp"))
                              .gate(on(side, "gate"))
                              .up(on(side, "up"))
                              .gateUpBias(on(side, "gateUpBias"))
                              .downBias(on(side, "downBias"))
                              .routerWeight(on(side, "routerWeight"))
                              .correctionBias(on(side, "correctionBias"))
                              .sharedGateUp(on(side, "sharedGateUp"))
                              .sharedDown(on(side, "sharedDown"))
                              .sharedGateWeight(on(side, "sharedGateWeight"))));
      return MoeForward.of(weights, required(side, "x"), required(side, "y"))
          .givenIds(on(side, "givenIds"))
          .givenWeights(on(side, "givenWeights"))
          .tokenCount(on(side, "tokenCount"))
          .ids(on(side, "ids"))
          .routingWeights(on(side, "routingWeights"))
          .logits(on(side, "logits"))
          .counts(on(side, "counts"))
          .saved(
              saves()
                  ? MoeSaved.of(
                          required(side, "saved.ids"),
                          required(side, "saved.routingWeights"),
                          required(side, "saved.permutation"))
                      .logits(on(side, "saved.logits"))
                      .z(on(side, "saved.z"))
                  : null);
    }
  }

  /**
   * Runs cases without JUnit, for machines that have none, and prints those that fail. Arguments:
   * the first case's number, how many.
   */
  public static void main(String[] args) {
    int first = Integer.parseInt(args[0]);
    int count = Integer.parseInt(args[1]);
    int failed = 0;
    long start = System.nanoTime();
    long slowest = 0;
    String slow = "";
    try (ConformanceRun run =
        ConformanceRun.of(new CudaProvider())
            .catalogues(List.of(new RandomMoeCases(first, count)))
            .open()) {
      for (ConformanceCase c : run.cases()) {
        CaseOutcome outcome = run.execute(c);
        if (outcome.status() != CaseStatus.PASS && failed++ < 8) {
          System.out.println(c.id() + ": " + outcome.status() + " " + outcome.message());
        }
        if (outcome.nanos() > slowest) {
          slowest = outcome.nanos();
          slow = c.id();
        }
      }
    }
    System.out.printf(
        Locale.ROOT,
        "random cases %d to %d: %d not passed, %.1f s, the slowest %s %.1f s%n",
        first,
        first + count - 1,
        failed,
        (System.nanoTime() - start) * 1e-9,
        slow,
        slowest * 1e-9);
  }
}
