package dev.weft.conformance.moe;

import static dev.weft.DataType.BF16;
import static dev.weft.DataType.F32;
import static dev.weft.DataType.I32;

import dev.weft.Graph;
import dev.weft.HostTensor;
import dev.weft.Limits;
import dev.weft.Stream;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.Family;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Profile;
import dev.weft.conformance.Values;
import dev.weft.moe.MoeBinding;
import dev.weft.moe.MoeDispatch;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import java.util.ArrayList;
import java.util.List;

/** Cases of several launches: parts of the experts, graphs, streams, closing. */
final class MoeLaunchCases {
  private MoeLaunchCases() {}

  static java.util.stream.Stream<ConformanceCase> all() {
    return java.util.stream.Stream.of(
        partsSumToTheWhole(),
        replayWithOtherRouting(),
        replayOfSmallerBatch(),
        twoStreams(),
        closedRightAfterLaunch(),
        repeatsUnderLoad());
  }

  private static ConformanceCase.Builder named(MoeScenario scenario) {
    return ConformanceCase.of(
            "moe.forward",
            scenario.spec.dataType(),
            scenario.sizes(),
            scenario.feature,
            scenario.family)
        .flops(scenario.flops());
  }

  /** Three ranks with some experts each, the first with the shared one: their sum is y, exactly. */
  private static ConformanceCase partsSumToTheWhole() {
    MoeScenario whole =
        MoeScenario.of(
                "expert-ranges-sum-to-the-whole",
                15,
                MoeExpertCases.exact(F32).sharedIntermediate(6).expertBias(true).build())
            .family(Family.EXACT)
            .values("givenIds", Values.each((draw, i) -> draw.below(i, 9) - 1));
    int[] bounds = {0, 3, 4, 7};
    List<MoeDispatchSpec> specs = new ArrayList<>();
    ConformanceCase.Builder builder = named(whole).spec(whole.spec);
    for (int rank = 0; rank < 3; rank++) {
      MoeDispatchSpec spec =
          whole.spec.toBuilder()
              .firstExpert(bounds[rank])
              .localExperts(bounds[rank + 1] - bounds[rank])
              .sharedIntermediate(rank == 0 ? whole.spec.sharedIntermediate() : 0)
              .build();
      specs.add(spec);
      builder.spec(spec);
    }
    return builder.runs(c -> {
      MoeTensors tensors = new MoeTensors(c, whole);
      List<Operand> parts = new ArrayList<>();
      List<MoeForward> launches = new ArrayList<>();
      for (int rank = 0; rank < 3; rank++) {
        MoeDispatchSpec spec = specs.get(rank);
        MoeBinding weights =
            c.keep(
                c.tested()
                    .prepare(spec)
                    .bind(
                        tensors.weights(
                            c.tested(), spec.firstExpert(), spec.localExperts(), rank == 0)));
        Operand y = c.tensor("y of rank " + rank, F32, whole.tokens, spec.hidden()).output();
        parts.add(y);
        launches.add(
            MoeForward.of(weights, c.tested().of(tensors.get("x")), c.tested().of(y))
                .givenIds(c.tested().of(tensors.get("givenIds")))
                .givenWeights(c.tested().of(tensors.get("givenWeights"))));
      }
      MoeForward all = tensors.forward(c.tested());
      c.launch(stream -> {
        c.tested().prepare(whole.spec).forward(stream, all);
        for (int rank = 0; rank < 3; rank++) {
          c.tested().prepare(specs.get(rank)).forward(stream, launches.get(rank));
        }
      });
      HostTensor y = c.read(tensors.get("y"));
      for (long i = 0; i < y.elements(); i++) {
        double sum = 0;
        for (Operand part : parts) {
          sum += c.read(part).get(i);
        }
        c.require(
            sum == y.get(i),
            "y: element " + i + " is " + y.get(i) + ", but its parts sum to " + sum);
      }
      MoeChecks.forward(c, whole, tensors);
    });
  }

  /** A graph replayed after the ids, weights and activations under it have changed. */
  private static ConformanceCase replayWithOtherRouting() {
    MoeScenario scenario =
        MoeScenario.of(
                "graph-replay-with-other-ids",
                9,
                MoeExpertCases.spec(F32).topK(3).router(MoeRouters.given()).build())
            .family(Family.ADVERSARIAL);
    return named(scenario)
        .spec(scenario.spec)
        .profiles(Profile.GRAPHS)
        .runs(c -> {
          MoeTensors tensors = new MoeTensors(c, scenario);
          replay(
              c,
              scenario,
              tensors,
              () -> {
                // All to one expert, where before there were many; some skipped.
                overwrite(c, tensors.get("givenIds"), (draw, i) -> i % 4 == 0 ? -1 : 5);
                overwrite(c, tensors.get("givenWeights"), (draw, i) -> draw.uniform(i));
                overwrite(c, tensors.get("x"), (draw, i) -> draw.normal(i));
              });
        });
  }

  /** A graph captured for T tokens, replayed for fewer. */
  private static ConformanceCase replayOfSmallerBatch() {
    MoeScenario captured =
        MoeScenario.of(
                "graph-replay-of-smaller-batch",
                12,
                MoeExpertCases.spec(BF16).sharedIntermediate(6).build())
            .family(Family.ADVERSARIAL)
            .present(12);
    return named(captured)
        .spec(captured.spec)
        .profiles(Profile.GRAPHS)
        .runs(c -> {
          MoeTensors tensors = new MoeTensors(c, captured);
          MoeScenario smaller = captured.present(5);
          replay(
              c,
              smaller,
              tensors,
              () -> {
                c.overwrite(tensors.get("tokenCount"), HostTensor.ofInts(new int[] {5}, 1));
                overwrite(
                    c,
                    tensors.get("x"),
                    (draw, i) -> i < 5L * captured.spec.hidden() ? draw.normal(i) : Double.NaN);
              });
        });
  }

  /** Captures, changes inputs, replays and checks. The outputs hold poison before the replay. */
  private static void replay(
      CaseContext c, MoeScenario scenario, MoeTensors tensors, Runnable change) {
    MoeDispatch moe = c.tested().prepare(scenario.spec);
    MoeForward arguments = tensors.forward(c.tested());
    c.stream().reserve(moe.workspaceBytes(Limits.of(scenario.tokens, 1)));
    Graph graph = c.keep(c.stream().capture(stream -> moe.forward(stream, arguments)));
    change.run();
    c.launchOnce(graph::launch);
    MoeChecks.forward(c, scenario, tensors);
  }

  private static void overwrite(CaseContext c, Operand operand, Values.Element element) {
    HostTensor values = HostTensor.allocate(operand.dataType(), operand.shape());
    Values.each(element).fill(values, c.draw("new " + operand.name()));
    c.overwrite(operand, values);
  }

  /** One kernel on two streams at once, with different numbers of tokens. */
  private static ConformanceCase twoStreams() {
    MoeScenario many = MoeScenario.of("two-streams", 70, MoeExpertCases.spec(F32).build());
    MoeScenario few = MoeScenario.of("two-streams", 3, many.spec);
    return named(many)
        .spec(many.spec)
        .runs(c -> {
          MoeTensors first = new MoeTensors(c, many);
          MoeTensors second = new MoeTensors(c, few);
          MoeDispatch moe = c.tested().prepare(many.spec);
          MoeForward manyTokens = first.forward(c.tested());
          MoeForward fewTokens = second.forward(c.tested());
          Stream other = c.keep(c.tested().device().newStream());
          c.launchOnce(stream -> {
            for (int i = 0; i < 5; i++) {
              moe.forward(stream, manyTokens);
              moe.forward(other, fewTokens);
            }
            other.synchronize();
          });
          MoeChecks.forward(c, many, first);
          MoeChecks.forward(c, few, second);
        });
  }

  /** Kernel and binding closed while their launch may still run. */
  private static ConformanceCase closedRightAfterLaunch() {
    MoeScenario scenario =
        MoeScenario.of(
            "closed-right-after-launch", 33, MoeExpertCases.spec(F32).hidden(64).build());
    return named(scenario)
        .spec(scenario.spec)
        .runs(c -> {
          MoeTensors tensors = new MoeTensors(c, scenario);
          c.launchOnce(stream -> {
            try (MoeDispatch moe = c.tested().device().prepare(scenario.spec);
                MoeBinding weights = moe.bind(tensors.weights(c.tested()))) {
              moe.forward(stream, tensors.forward(c.tested(), weights));
            }
          });
          MoeChecks.forward(c, scenario, tensors);
        });
  }

  /** 20 launches beside another stream's work: the same bits every time. */
  private static ConformanceCase repeatsUnderLoad() {
    MoeScenario scenario =
        MoeScenario.of(
            "repeats-under-load",
            33,
            MoeExpertCases.spec(BF16).router(MoeRouters.SIGMOID_SUM.spec()).build());
    return named(scenario)
        .spec(scenario.spec)
        .runs(c -> {
          MoeTensors tensors = new MoeTensors(c, scenario);
          Operand load =
              c.tensor("load", scenario.spec.dataType(), scenario.tokens, scenario.spec.hidden())
                  .output();
          MoeDispatch moe = c.tested().prepare(scenario.spec);
          MoeForward arguments = tensors.forward(c.tested());
          MoeForward beside =
              MoeForward.of(
                  arguments.weights(), c.tested().of(tensors.get("x")), c.tested().of(load));
          Stream other = c.keep(c.tested().device().newStream());
          HostTensor first = HostTensor.allocate(I32, 0);
          for (int repeat = 0; repeat < 20; repeat++) {
            c.launchOnce(stream -> {
              moe.forward(other, beside);
              moe.forward(stream, arguments);
              moe.forward(other, beside);
              other.synchronize();
            });
            if (repeat == 0) {
              first = c.read(tensors.get("y"));
            } else {
              c.checkBits(tensors.get("y"), first);
            }
          }
          MoeChecks.forward(c, scenario, tensors);
        });
  }
}
