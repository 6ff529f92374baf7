package dev.weft.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.moe.ExpertActivation;
import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeBinding;
import dev.weft.moe.MoeDispatch;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeDispatchSpec.Mode;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.GroupScore;
import dev.weft.moe.RouterSpec.Normalize;
import dev.weft.moe.RouterSpec.Score;
import dev.weft.moe.RouterSpec.Source;
import dev.weft.spi.Expected;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Oracle;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What a reader can check by hand, gradients against finite differences, and the oracle's eye. */
class MoeTest extends OnBothProviders {
  private static final int TOKENS = 5;

  private Tensor ints(Device device, int[] values, long... shape) {
    return keep(device.upload(HostTensor.ofInts(values, shape)));
  }

  private Tensor zeros(Device device, DataType type, long... shape) {
    return keep(device.upload(HostTensor.allocate(type, shape)));
  }

  @ParameterizedTest
  @MethodSource("providers")
  void addsWeightedExpertsAndSkipsIdsThatNobodyHas(KernelProvider provider) {
    Device device = device(provider);
    // H = I = 1: expert e computes max(w_e x, 0)^2 d_e with w = 1, 2, 3 and d = 1, 10, 100.
    MoeDispatch moe =
        keep(
            device.prepare(
                MoeDispatchSpec.builder()
                    .dataType(DataType.F32)
                    .hidden(1)
                    .intermediate(1)
                    .experts(3)
                    .topK(3)
                    .activation(ExpertActivation.RELU2)
                    .router(RouterSpec.builder().source(Source.GIVEN).build())
                    .modes(Mode.FORWARD, Mode.BACKWARD)
                    .build()));
    MoeBinding weights =
        keep(
            moe.bind(
                MoeWeights.of(floats(device, new float[] {1, 10, 100}, 3, 1, 1))
                    .gateUp(floats(device, new float[] {1, 2, 3}, 3, 1, 1))));
    assertEquals(0, weights.extraBytes());
    Tensor y = zeros(device, DataType.F32, 3, 1);
    Tensor counts = zeros(device, DataType.I32, 3);
    MoeSaved saved =
        MoeSaved.of(
            zeros(device, DataType.I32, 3, 3),
            zeros(device, DataType.F32, 3, 3),
            zeros(device, DataType.I32, 9));
    moe.forward(
        device.defaultStream(),
        MoeForward.of(weights, floats(device, new float[] {1, 2, -1}, 3, 1), y)
            .givenIds(ints(device, new int[] {0, 1, 2, 2, -1, 2, 3, 0, 1 << 30}, 3, 3))
            .givenWeights(floats(device, new float[] {1, 1, 1, 0.5f, 7, 1, 1, 1, 1}, 3, 3))
            .counts(counts)
            .saved(saved));
    assertArrayEquals(new float[] {1 + 40 + 900, 1.5f * 3600, 0}, y.download().toFloats());
    assertArrayEquals(new int[] {2, 1, 3}, counts.download().toInts());
    assertArrayEquals(
        new int[] {0, 7, 1, 2, 3, 5, -1, -1, -1}, saved.permutation().download().toInts());
  }

  @ParameterizedTest
  @MethodSource("providers")
  void gradientsAreFiniteDifferences(KernelProvider provider) {
    for (ExpertActivation activation : ExpertActivation.values()) {
      GateUpLayout layout =
          switch (activation) {
            case SWIGLU -> GateUpLayout.SEPARATE;
            case SWIGLU_CLAMPED -> GateUpLayout.INTERLEAVED;
            case GEGLU -> GateUpLayout.UP_FIRST;
            case GEGLU_TANH, RELU2 -> GateUpLayout.GATE_FIRST;
          };
      RouterSpec router =
          RouterSpec.builder()
              .score(activation == ExpertActivation.GEGLU ? Score.SOFTMAX : Score.SIGMOID)
              .routerBias(true)
              .normalize(Normalize.SUM)
              .epsilon(0.1f)
              .scalingFactor(2.5f)
              .build();
      new Gradients(device(provider), spec(activation, layout, router)).check();
    }
    for (Source source : List.of(Source.LOGITS, Source.GIVEN)) {
      RouterSpec router =
          RouterSpec.builder()
              .source(source)
              .score(Score.IDENTITY)
              .normalize(Normalize.SOFTMAX)
              .build();
      new Gradients(
              device(provider), spec(ExpertActivation.SWIGLU, GateUpLayout.GATE_FIRST, router))
          .check();
    }
  }

  private static MoeDispatchSpec spec(
      ExpertActivation activation, GateUpLayout layout, RouterSpec router) {
    return MoeDispatchSpec.builder()
        .dataType(DataType.F32)
        .hidden(3)
        .intermediate(2)
        .experts(4)
        .topK(2)
        .activation(activation)
        .swigluLimit(0.8f)
        .gateUpLayout(layout)
        .expertBias(true)
        .sharedIntermediate(2)
        .sharedGate(true)
        .router(router)
        .modes(Mode.FORWARD, Mode.BACKWARD)
        .build();
  }

  /**
   * The loss is dy . y, with y as the oracle has it: float64, and for the experts that forward
   * chose. So differences are as good as float64 allows, but for the float32 of saved logits.
   */
  private final class Gradients {
    private final Device device;
    private final MoeDispatchSpec spec;
    private final Oracle oracle;
    private final Device reference;
    // The oracle's own copies of the inputs, and its arguments.
    private final Map<String, Tensor> copies = new LinkedHashMap<>();
    private final MoeForward oracleArguments;
    private final Map<String, HostTensor> inputs = new LinkedHashMap<>();
    private final Random random = new Random(7);

    Gradients(Device device, MoeDispatchSpec spec) {
      this.device = device;
      this.spec = spec;
      reference = device(new ReferenceProvider());
      oracle = reference.extension(Oracle.class).orElseThrow();
      long e = spec.experts();
      long h = spec.hidden();
      long i = spec.intermediate();
      draw("x", TOKENS, h);
      draw("dy", TOKENS, h);
      draw("down", e, h, i);
      if (spec.gateUpLayout() == GateUpLayout.SEPARATE) {
        draw("gate", e, i, h);
        draw("up", e, i, h);
      } else {
        draw("gateUp", e, spec.projected(), h);
      }
      draw("gateUpBias", e, spec.projected());
      draw("downBias", e, h);
      draw("sharedGateUp", spec.sharedProjected(), h);
      draw("sharedDown", h, spec.sharedIntermediate());
      draw("sharedGateWeight", 1, h);
      switch (spec.router().source()) {
        case ROUTER -> {
          draw("routerWeight", e, h);
          draw("routerBias", e);
        }
        case LOGITS -> draw("givenLogits", TOKENS, e);
        case GIVEN -> draw("givenWeights", TOKENS, spec.topK());
      }
      inputs.forEach((name, values) -> copies.put(name, keep(reference.upload(values))));
      oracleArguments = forward(reference, keep(reference.prepare(spec)), copies);
    }

    private void draw(String name, long... shape) {
      HostTensor values = HostTensor.allocate(DataType.F32, shape);
      for (long i = 0; i < values.elements(); i++) {
        values.set(i, random.nextGaussian());
      }
      inputs.put(name, values);
    }

    private MoeForward forward(Device target, MoeDispatch moe, Map<String, Tensor> on) {
      MoeWeights weights =
          MoeWeights.of(Objects.requireNonNull(on.get("down")))
              .gateUp(on.get("gateUp"))
              .gate(on.get("gate"))
              .up(on.get("up"))
              .gateUpBias(on.get("gateUpBias"))
              .downBias(on.get("downBias"))
              .routerWeight(on.get("routerWeight"))
              .routerBias(on.get("routerBias"))
              .sharedGateUp(on.get("sharedGateUp"))
              .sharedDown(on.get("sharedDown"))
              .sharedGateWeight(on.get("sharedGateWeight"));
      boolean given = spec.router().source() == Source.GIVEN;
      return MoeForward.of(
              keep(moe.bind(weights)),
              Objects.requireNonNull(on.get("x")),
              zeros(target, DataType.F32, TOKENS, spec.hidden()))
          .givenLogits(on.get("givenLogits"))
          .givenWeights(on.get("givenWeights"))
          .givenIds(
              given
                  ? ints(target, new int[] {0, 1, 3, 3, 2, -1, 1, 2, 9, 0}, TOKENS, spec.topK())
                  : null);
    }

    private double loss(@Nullable Tensor ids) {
      Expected y = Objects.requireNonNull(oracle.moeForward(spec, oracleArguments, ids).get("y"));
      HostTensor dy = Objects.requireNonNull(inputs.get("dy"));
      double loss = 0;
      for (int i = 0; i < y.value().length; i++) {
        loss += y.value()[i] * dy.get(i);
      }
      return loss;
    }

    void check() {
      MoeDispatch moe = keep(device.prepare(spec));
      Map<String, Tensor> tensors = new LinkedHashMap<>();
      inputs.forEach((name, values) -> tensors.put(name, keep(device.upload(values))));
      MoeForward arguments = forward(device, moe, tensors);
      MoeSaved saved =
          MoeSaved.of(
                  zeros(device, DataType.I32, TOKENS, spec.topK()),
                  zeros(device, DataType.F32, TOKENS, spec.topK()),
                  zeros(device, DataType.I32, (long) TOKENS * spec.topK()))
              .logits(
                  spec.router().hasLogits()
                      ? zeros(device, DataType.F32, TOKENS, spec.experts())
                      : null);
      moe.forward(device.defaultStream(), arguments.saved(saved));
      Map<String, Tensor> gradients = new LinkedHashMap<>();
      inputs.forEach(
          (name, values) -> gradients.put(name, zeros(device, DataType.F32, values.shape())));
      moe.backward(
          device.defaultStream(),
          MoeBackward.of(
                  arguments.weights(),
                  arguments.x(),
                  Objects.requireNonNull(tensors.get("dy")),
                  saved)
              .dx(gradients.get("x"))
              .dlogits(gradients.get("givenLogits"))
              .dgivenWeights(gradients.get("givenWeights"))
              .drouterWeight(gradients.get("routerWeight"))
              .drouterBias(gradients.get("routerBias"))
              .dgateUp(gradients.get("gateUp"))
              .dgate(gradients.get("gate"))
              .dup(gradients.get("up"))
              .dgateUpBias(gradients.get("gateUpBias"))
              .ddown(gradients.get("down"))
              .ddownBias(gradients.get("downBias"))
              .dsharedGateUp(gradients.get("sharedGateUp"))
              .dsharedDown(gradients.get("sharedDown"))
              .dsharedGateWeight(gradients.get("sharedGateWeight")));
      HostTensor chosen = saved.ids().download();
      Tensor ids = spec.router().hasLogits() ? keep(reference.upload(chosen)) : null;
      gradients.remove("dy");
      gradients.forEach((name, gradient) -> differences(name, gradient.download(), ids));
    }

    private void differences(String name, HostTensor gradient, @Nullable Tensor ids) {
      HostTensor input = Objects.requireNonNull(inputs.get(name));
      for (long i = 0; i < input.elements(); i++) {
        double value = input.get(i);
        double above = move(name, input, i, value + 0x1p-12);
        double lossAbove = loss(ids);
        double below = move(name, input, i, value - 0x1p-12);
        double difference = (lossAbove - loss(ids)) / (above - below);
        move(name, input, i, value);
        assertEquals(
            difference,
            gradient.get(i),
            2e-5 * (1 + Math.abs(difference)),
            spec + " d" + name + " element " + i);
      }
    }

    /** Sets an element of an input; returns what it is in F32. */
    private double move(String name, HostTensor input, long i, double value) {
      input.set(i, value);
      reference.defaultStream().upload(input, Objects.requireNonNull(copies.get(name)));
      reference.defaultStream().synchronize();
      return input.get(i);
    }
  }

  @Test
  void theOracleAcceptsNearTiesOnly() {
    Device device = device(new ReferenceProvider());
    Oracle oracle = device.extension(Oracle.class).orElseThrow();
    RouterSpec exact = RouterSpec.builder().source(Source.LOGITS).score(Score.SIGMOID).build();
    float[] logits = {3, 2, 2, Float.NaN};
    assertTrue(fault(device, oracle, exact, logits, 0, 1).isEmpty());
    assertFault("was chosen, but not", fault(device, oracle, exact, logits, 0, 2));
    assertFault("stands before", fault(device, oracle, exact, logits, 1, 0));
    assertFault("was chosen, but not", fault(device, oracle, exact, logits, 0, 3));
    assertFault("was chosen before", fault(device, oracle, exact, logits, 0, 0));
    assertFault("expected an expert of 0..3", fault(device, oracle, exact, logits, 0, 4));
    // Keys 0.5 + 1 and nearly 0.5 + 1: less apart than F32 can tell.
    RouterSpec biased =
        RouterSpec.builder()
            .source(Source.LOGITS)
            .score(Score.SIGMOID)
            .correctionBias(true)
            .build();
    float[] near = {0, 1e-8f, -1, 1};
    assertTrue(fault(device, oracle, biased, near, 3, 0).isEmpty());
    assertTrue(fault(device, oracle, biased, near, 3, 1).isEmpty());
    assertFault("but not expert", fault(device, oracle, biased, near, 3, 2));
  }

  @Test
  void theOracleKnowsWhichGroupsAreKept() {
    Device device = device(new ReferenceProvider());
    Oracle oracle = device.extension(Oracle.class).orElseThrow();
    RouterSpec grouped =
        RouterSpec.builder()
            .source(Source.LOGITS)
            .score(Score.SIGMOID)
            .groups(2, 1, GroupScore.TOP2_SUM)
            .build();
    float[] logits = {3, -9, 2, 2};
    assertTrue(fault(device, oracle, grouped, logits, 2, 3).isEmpty());
    assertFault("expert", fault(device, oracle, grouped, logits, 0, 2));
    assertFault("expert", fault(device, oracle, grouped, logits, 3, 2));
    // Two groups alike: the lower one.
    float[] alike = {1, 2, 1, 2};
    assertTrue(fault(device, oracle, grouped, alike, 1, 0).isEmpty());
    assertFault("expert", fault(device, oracle, grouped, alike, 3, 2));
  }

  private static void assertFault(String part, String fault) {
    assertFalse(fault.isEmpty(), "expected a fault");
    assertTrue(fault.contains(part), fault);
  }

  private String fault(
      Device device, Oracle oracle, RouterSpec router, float[] logits, int... ids) {
    MoeDispatchSpec spec =
        MoeDispatchSpec.builder()
            .dataType(DataType.F32)
            .hidden(1)
            .intermediate(1)
            .experts(4)
            .topK(2)
            .activation(ExpertActivation.RELU2)
            .router(router)
            .build();
    MoeDispatch moe = keep(device.prepare(spec));
    MoeWeights weights =
        MoeWeights.of(zeros(device, DataType.F32, 4, 1, 1))
            .gateUp(zeros(device, DataType.F32, 4, 1, 1));
    if (router.correctionBias()) {
      weights = weights.correctionBias(floats(device, new float[] {1, 1, 1, 1}, 4));
    }
    MoeForward arguments =
        MoeForward.of(
                keep(moe.bind(weights)),
                zeros(device, DataType.F32, 1, 1),
                zeros(device, DataType.F32, 1, 1))
            .givenLogits(floats(device, logits, 1, 4));
    return oracle.moeSelectionFault(spec, arguments, ints(device, ids, 1, 2)).orElse("");
  }

  @Test
  void cpuResultsDoNotDependOnTheNumberOfThreads() {
    MoeDispatchSpec spec =
        MoeDispatchSpec.builder()
            .dataType(DataType.F32)
            .hidden(70)
            .intermediate(33)
            .experts(5)
            .topK(2)
            .sharedIntermediate(19)
            .build();
    float[] one = bits(spec, 1);
    assertArrayEquals(one, bits(spec, 2));
    assertArrayEquals(one, bits(spec, 7));
  }

  private float[] bits(MoeDispatchSpec spec, int threads) {
    Device device =
        keep(Weft.open(new CpuProvider(), "0", DeviceOptions.builder().threads(threads).build()));
    Random random = new Random(3);
    MoeDispatch moe = keep(device.prepare(spec));
    MoeWeights weights =
        MoeWeights.of(drawn(device, random, 5, 70, 33))
            .gateUp(drawn(device, random, 5, 66, 70))
            .routerWeight(drawn(device, random, 5, 70))
            .sharedGateUp(drawn(device, random, 38, 70))
            .sharedDown(drawn(device, random, 70, 19));
    Tensor y = zeros(device, DataType.F32, 100, 70);
    moe.forward(
        device.defaultStream(),
        MoeForward.of(keep(moe.bind(weights)), drawn(device, random, 100, 70), y));
    return y.download().toFloats();
  }

  private Tensor drawn(Device device, Random random, long... shape) {
    HostTensor values = HostTensor.allocate(DataType.F32, shape);
    for (long i = 0; i < values.elements(); i++) {
      values.set(i, 0.3 * random.nextGaussian());
    }
    return keep(device.upload(values));
  }
}
