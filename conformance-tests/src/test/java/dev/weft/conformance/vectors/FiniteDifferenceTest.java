package dev.weft.conformance.vectors;

import static dev.weft.conformance.vectors.VectorAssertions.tensor;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.conv1d.CausalConv1d;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaForward;
import dev.weft.moe.MoeBinding;
import dev.weft.moe.MoeDispatch;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeWeights;
import dev.weft.spi.Expected;
import dev.weft.spi.Oracle;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.function.Consumer;
import java.util.function.DoubleSupplier;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * The reference backend's gradients are the derivatives of its own forward formulas: those of the
 * loss {@code sum(dout * out)}, by central differences of the float64 values that the oracle
 * computes. Which blocks and experts are chosen is held as forward chose it.
 */
class FiniteDifferenceTest {
  /** Inputs are multiples of 2^-8 below 2 in magnitude, so that every step is exact in F32. */
  private static final double STEP = 0x1p-10;

  /** Gradients are computed from outputs rounded to F32, and rounded to F32 themselves. */
  private static final double ALLOWED = 0x1p-19;

  @TestFactory
  Stream<DynamicTest> mobaGradientsAreDerivatives() {
    return Stream.of(
        moba("grouped heads, ragged blocks", 2, 3, 2, 1, 8, 8, 0, 5, 13),
        moba("own block alone", 1, 4, 2, 2, 8, 8, 0, 9),
        moba("values of another size", 3, 2, 2, 2, 4, 6, 0, 0, 11, 12),
        moba("every block", 8, 2, 1, 1, 8, 8, 0, 9, 10));
  }

  @TestFactory
  Stream<DynamicTest> conv1dGradientsAreDerivatives() {
    return Stream.of(
        conv1d("silu, bias, states", "silu", true, 4, 3, 0, 5, 6, 6, 13),
        conv1d("no activation, no bias", "none", false, 3, 2, 0, 1, 8, 9, 11),
        conv1d("two taps", "silu", true, 2, 2, 0, 2, 3, 4, 6),
        conv1d("longer than the sequences", "none", true, 6, 2, 0, 1, 3, 5, 8));
  }

  @TestFactory
  Stream<DynamicTest> moeGradientsAreDerivatives() {
    return Stream.of(
        moe("softmax, sum", c -> c.attribute("normalize", "sum")),
        moe("softmax, not normalised, scaled", c -> c.attribute("routed_scaling_factor", "2.5")),
        moe(
            "sigmoid, correction bias, groups",
            c ->
                c.attribute("score", "sigmoid")
                    .attribute("normalize", "sum")
                    .attribute("normalize_epsilon", "0.125")
                    .attribute("n_group", "3")
                    .attribute("topk_group", "2")
                    .attribute("group_score", "top2_sum")
                    .floats("correction_bias", 6)),
        moe(
            "identity, softmax of the chosen, biases, clamped, interleaved",
            c ->
                c.attribute("score", "identity")
                    .attribute("normalize", "softmax")
                    .attribute("activation", "swiglu_clamped")
                    .attribute("swiglu_alpha", "1.702")
                    .attribute("swiglu_limit", "0.75")
                    .attribute("gate_up_layout", "interleaved")
                    .floats("router_bias", 6)
                    .floats("b_gate_up", 6, 10)
                    .floats("b_down", 6, 4)),
        moe(
            "shared expert with a gate",
            c ->
                c.attribute("normalize", "sum")
                    .attribute("shared_gate", "sigmoid")
                    .floats("shared_w_gate_up", 6, 4)
                    .floats("shared_w_down", 4, 3)
                    .floats("shared_gate_weight", 1, 4)),
        moe(
            "shared expert without a gate, up first",
            c ->
                c.attribute("gate_up_layout", "up_first")
                    .floats("shared_w_gate_up", 6, 4)
                    .floats("shared_w_down", 4, 3)),
        moe("geglu", c -> c.attribute("activation", "geglu")),
        moe("geglu_tanh", c -> c.attribute("activation", "geglu_tanh")),
        moe("relu2", c -> c.attribute("activation", "relu2").floats("w_gate_up", 6, 5, 4)),
        moe(
            "given logits",
            c ->
                c.attribute("normalize", "sum")
                    .without("router_weight")
                    .floats("router_logits", 7, 6)),
        moe(
            "given ids and weights",
            c ->
                c.without("router_weight")
                    .floats("topk_weights", 7, 2)
                    .tensor(
                        "topk_ids",
                        HostTensor.ofInts(
                            new int[] {0, 5, 3, -1, 2, 2, 6, 1, 4, 0, -1, -1, 5, 4}, 7, 2))));
  }

  private static DynamicTest moba(
      String name,
      int topK,
      int blockSize,
      int heads,
      int kvHeads,
      int dim,
      int valueDim,
      int... cuSeqlens) {
    int rows = cuSeqlens[cuSeqlens.length - 1];
    Content content =
        new Content(name, MobaCase.OP)
            .attribute("top_k", Integer.toString(topK))
            .attribute("block_size", Integer.toString(blockSize))
            .attribute("scale", "0.75")
            .floats("q", rows, heads, dim)
            .floats("k", rows, kvHeads, dim)
            .floats("v", rows, kvHeads, valueDim)
            .floats("dout", rows, heads, valueDim)
            .tensor("cu_seqlens", HostTensor.ofInts(cuSeqlens, cuSeqlens.length));
    return dynamicTest(
        name,
        () -> {
          try (Run run = new Run(content)) {
            DoubleSupplier loss = mobaLoss(run);
            run.check("dq", "q", loss);
            run.check("dk", "k", loss);
            run.check("dv", "v", loss);
          }
        });
  }

  private static DoubleSupplier mobaLoss(Run run) {
    MobaAttentionSpec spec = (MobaAttentionSpec) run.file.spec(DataType.F32);
    HostTensor chosen = run.outputs.get("selection");
    Tensor selection = chosen == null ? null : run.tensors.input(chosen);
    MobaForward forward =
        MobaForward.of(
            run.on("q"),
            run.on("k"),
            run.on("v"),
            run.on("cu_seqlens"),
            run.tensors.input(tensor(run.outputs, "out")));
    return () ->
        weighted(run, "dout", value(run.oracle.mobaForward(spec, forward, selection), "out"));
  }

  /** The third sequence has a slot that skips it; the last starts from zeros. */
  private static DynamicTest conv1d(
      String name, String activation, boolean bias, int width, int channels, int... cuSeqlens) {
    int rows = cuSeqlens[cuSeqlens.length - 1];
    Content content =
        new Content(name, Conv1dCase.OP)
            .attribute("activation", activation)
            .floats("x", rows, channels)
            .floats("weight", channels, width)
            .floats("conv_states", 5, channels, width - 1)
            .floats("dout", rows, channels)
            .floats("dfinal_states", 4, channels, width - 1)
            .tensor("cu_seqlens", HostTensor.ofInts(cuSeqlens, 5))
            .tensor("cache_indices", HostTensor.ofInts(new int[] {4, 1, -1, 0}, 4))
            .tensor(
                "has_initial_state", HostTensor.ofInts(new int[] {1, 1, 1, 0}, 4).to(DataType.U8));
    if (bias) {
      content.floats("bias", channels);
    }
    return dynamicTest(
        name,
        () -> {
          try (Run run = new Run(content)) {
            DoubleSupplier loss = conv1dLoss(run);
            run.check("dx", "x", loss);
            run.check("dweight", "weight", loss);
            if (bias) {
              run.check("dbias", "bias", loss);
            }
            checkInitialStates(run, loss);
          }
        });
  }

  private static DoubleSupplier conv1dLoss(Run run) {
    CausalConv1dSpec spec = (CausalConv1dSpec) run.file.spec(DataType.F32);
    CausalConv1d kernel = run.tensors.prepare(spec);
    Tensor bias = run.file.inputs().containsKey("bias") ? run.on("bias") : null;
    Conv1dForward forward =
        Conv1dForward.of(
                run.tensors.closing(kernel.bind(run.on("weight"), bias)),
                run.on("x"),
                run.on("cu_seqlens"),
                run.tensors.input(tensor(run.outputs, "out")))
            .states(run.on("conv_states"))
            .cacheIndices(run.on("cache_indices"))
            .hasInitialState(run.on("has_initial_state"));
    HostTensor slots = tensor(run.file.inputs(), "cache_indices");
    HostTensor dfinal = tensor(run.file.inputs(), "dfinal_states");
    int perSlot = (int) (dfinal.elements() / slots.elements());
    return () -> {
      Map<String, Expected> values = run.oracle.conv1dForward(spec, forward);
      double loss = weighted(run, "dout", value(values, "out"));
      double[] states = value(values, "states");
      for (int b = 0; b < slots.elements(); b++) {
        int slot = (int) slots.get(b);
        for (int i = 0; slot >= 0 && i < perSlot; i++) {
          loss += dfinal.get((long) b * perSlot + i) * states[slot * perSlot + i];
        }
      }
      return loss;
    };
  }

  /** dinitial_states has a row for each sequence, and the states one for each slot. */
  private static void checkInitialStates(Run run, DoubleSupplier loss) {
    HostTensor slots = tensor(run.file.inputs(), "cache_indices");
    HostTensor gradient = tensor(run.outputs, "dinitial_states");
    HostTensor derivative = run.derivative("conv_states", loss);
    int perSlot = (int) (gradient.elements() / slots.elements());
    HostTensor bySequence = HostTensor.allocate(DataType.F32, gradient.shape());
    for (int b = 0; b < slots.elements(); b++) {
      int slot = (int) slots.get(b);
      for (int i = 0; slot >= 0 && i < perSlot; i++) {
        bySequence.set((long) b * perSlot + i, derivative.get((long) slot * perSlot + i));
      }
    }
    assertNear("dinitial_states", gradient, bySequence);
  }

  private static DynamicTest moe(String name, Consumer<Content> edit) {
    Content content =
        new Content(name, MoeCase.OP)
            .attribute("top_k", "2")
            .attribute("score", "softmax")
            .attribute("normalize", "none")
            .attribute("activation", "swiglu")
            .floats("x", 7, 4)
            .floats("router_weight", 6, 4)
            .floats("w_gate_up", 6, 10, 4)
            .floats("w_down", 6, 4, 5)
            .floats("dout", 7, 4);
    edit.accept(content);
    return dynamicTest(
        name,
        () -> {
          try (Run run = new Run(content)) {
            DoubleSupplier loss = moeLoss(run);
            for (String input : run.file.inputs().keySet()) {
              if (run.outputs.containsKey("d" + input)) {
                run.check("d" + input, input, loss);
              }
            }
          }
        });
  }

  private static DoubleSupplier moeLoss(Run run) {
    MoeDispatchSpec spec = (MoeDispatchSpec) run.file.spec(DataType.F32);
    MoeDispatch kernel = run.tensors.prepare(spec);
    MoeBinding weights =
        run.tensors.closing(
            kernel.bind(
                MoeWeights.of(run.on("w_down"))
                    .gateUp(run.on("w_gate_up"))
                    .gateUpBias(run.optional("b_gate_up"))
                    .downBias(run.optional("b_down"))
                    .routerWeight(run.optional("router_weight"))
                    .routerBias(run.optional("router_bias"))
                    .correctionBias(run.optional("correction_bias"))
                    .sharedGateUp(run.optional("shared_w_gate_up"))
                    .sharedDown(run.optional("shared_w_down"))
                    .sharedGateWeight(run.optional("shared_gate_weight"))));
    MoeForward forward =
        MoeForward.of(weights, run.on("x"), run.tensors.input(tensor(run.outputs, "out")))
            .givenLogits(run.optional("router_logits"))
            .givenIds(run.optional("topk_ids"))
            .givenWeights(run.optional("topk_weights"));
    HostTensor chosen = run.outputs.get("topk_ids");
    Tensor ids = chosen == null ? null : run.tensors.input(chosen);
    return () -> weighted(run, "dout", value(run.oracle.moeForward(spec, forward, ids), "y"));
  }

  private static double[] value(Map<String, Expected> values, String name) {
    return Objects.requireNonNull(values.get(name)).value();
  }

  private static double weighted(Run run, String weights, double[] values) {
    HostTensor dout = tensor(run.file.inputs(), weights);
    double sum = 0;
    for (int i = 0; i < values.length; i++) {
      sum += dout.get(i) * values[i];
    }
    return sum;
  }

  private static void assertNear(String name, HostTensor gradient, HostTensor derivative) {
    double largest = 0;
    for (long i = 0; i < gradient.elements(); i++) {
      double got = gradient.get(i);
      double want = derivative.get(i);
      largest = Math.max(largest, Math.abs(want));
      assertTrue(
          Math.abs(got - want) <= ALLOWED * (1 + Math.abs(want)),
          name + ", element " + i + ": gradient " + got + ", derivative " + want);
    }
    assertTrue(largest > 0.01, name + ": nothing was tested, as all derivatives are " + largest);
  }

  /** A case in the making. Its seed is its name. */
  private static final class Content {
    private final String name;
    private final Map<String, String> attributes = new LinkedHashMap<>();
    private final Map<String, HostTensor> tensors = new LinkedHashMap<>();

    Content(String name, String op) {
      this.name = name;
      attribute("format", CaseFile.FORMAT).attribute("dtype", "f32").attribute("op", op);
    }

    Content attribute(String attribute, String value) {
      attributes.put(attribute, value);
      return this;
    }

    Content tensor(String tensor, HostTensor value) {
      tensors.put(tensor, value);
      return this;
    }

    Content floats(String tensor, long... shape) {
      HostTensor value = HostTensor.allocate(DataType.F32, shape);
      SplittableRandom random = new SplittableRandom((name + tensor).hashCode());
      for (long i = 0; i < value.elements(); i++) {
        value.set(i, random.nextInt(-384, 385) * 0x1p-8);
      }
      return tensor(tensor, value);
    }

    Content without(String tensor) {
      tensors.remove(tensor);
      return this;
    }

    CaseFile file() {
      return CaseFile.of(name, Safetensors.of(attributes, tensors));
    }
  }

  /** A case, what the reference computed for it, and its inputs on the device, to be moved. */
  private static final class Run implements AutoCloseable {
    final Device device = Weft.open("reference");
    final Oracle oracle = device.extension(Oracle.class).orElseThrow();
    final CaseTensors tensors = new CaseTensors(device, DataType.F32);
    final CaseFile file;
    final Map<String, HostTensor> outputs;
    private final Map<String, Tensor> inputs = new LinkedHashMap<>();

    Run(Content content) {
      file = content.file();
      outputs = CaseRunner.run(device, file, DataType.F32);
      file.inputs().forEach((name, value) -> inputs.put(name, tensors.input(value)));
    }

    Tensor on(String input) {
      return Objects.requireNonNull(inputs.get(input), input);
    }

    @Nullable Tensor optional(String input) {
      return inputs.get(input);
    }

    void check(String gradient, String input, DoubleSupplier loss) {
      assertNear(gradient, tensor(outputs, gradient), derivative(input, loss));
    }

    /** Fourth order: the error is of the order of STEP^4, about 1e-12. */
    HostTensor derivative(String input, DoubleSupplier loss) {
      HostTensor at = tensor(file.inputs(), input);
      HostTensor derivative = HostTensor.allocate(DataType.F32, at.shape());
      for (long i = 0; i < at.elements(); i++) {
        double x = at.get(i);
        double near = loss(input, i, x + STEP, loss) - loss(input, i, x - STEP, loss);
        double far = loss(input, i, x + 2 * STEP, loss) - loss(input, i, x - 2 * STEP, loss);
        at.set(i, x);
        derivative.set(i, (8 * near - far) / (12 * STEP));
      }
      move(input);
      return derivative;
    }

    private double loss(String input, long index, double value, DoubleSupplier loss) {
      tensor(file.inputs(), input).set(index, value);
      move(input);
      return loss.getAsDouble();
    }

    private void move(String input) {
      device.defaultStream().upload(tensor(file.inputs(), input), on(input));
      device.defaultStream().synchronize();
    }

    @Override
    public void close() {
      try (device) {
        tensors.close();
      }
    }
  }
}
