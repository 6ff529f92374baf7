package dev.weft.conformance.moe;

import static dev.weft.DataType.F32;
import static dev.weft.DataType.I32;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Side;
import dev.weft.conformance.Values;
import dev.weft.conformance.moe.MoeScenario.Option;
import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeBinding;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec.Source;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** The tensors of a MoE case on both sides, and the launch arguments made of them. */
final class MoeTensors {
  private final CaseContext context;
  private final MoeScenario scenario;
  private final MoeDispatchSpec spec;
  private final Map<String, Operand> operands = new LinkedHashMap<>();

  MoeTensors(CaseContext context, MoeScenario scenario) {
    this.context = context;
    this.scenario = scenario;
    this.spec = scenario.spec;
    weights();
    inputs();
    outputs();
  }

  private void weights() {
    DataType type = spec.weightType();
    DataType routerType = spec.routerType();
    long count = spec.localExperts();
    long hidden = spec.hidden();
    long width = spec.intermediate();
    input("down", type, count, hidden, width);
    if (spec.gateUpLayout() == GateUpLayout.SEPARATE) {
      input("gate", type, count, width, hidden);
      input("up", type, count, width, hidden);
    } else {
      input("gateUp", type, count, spec.projected(), hidden);
    }
    if (spec.expertBias()) {
      input("gateUpBias", type, count, spec.projected());
      input("downBias", type, count, hidden);
    }
    if (spec.router().source() == Source.ROUTER) {
      input("routerWeight", routerType, spec.experts(), hidden);
    }
    if (spec.router().routerBias()) {
      input("routerBias", routerType, spec.experts());
    }
    if (spec.router().hasLogits() && spec.router().correctionBias()) {
      input("correctionBias", F32, spec.experts());
    }
    if (spec.sharedIntermediate() > 0) {
      input("sharedGateUp", type, spec.sharedProjected(), hidden);
      input("sharedDown", type, hidden, spec.sharedIntermediate());
    }
    if (spec.sharedGate()) {
      input("sharedGateWeight", routerType, 1, hidden);
    }
  }

  private void inputs() {
    padded("x", spec.dataType(), spec.hidden());
    if (spec.router().source() == Source.LOGITS) {
      padded("givenLogits", F32, spec.experts());
    }
    if (scenario.isGiven()) {
      Values ids = scenario.valuesOf("givenIds");
      operands.put(
          "givenIds",
          context
              .tensor("givenIds", I32, scenario.tokens, spec.topK())
              .values(ids.rows(scenario.rows(), scenario.tokens, Integer.MAX_VALUE))
              .input());
      padded("givenWeights", F32, spec.topK());
    }
    if (scenario.present >= 0) {
      operands.put("tokenCount", context.ints("tokenCount", scenario.present));
    }
  }

  private void outputs() {
    long tokens = scenario.tokens;
    long slots = spec.topK();
    output("y", spec.dataType(), tokens, spec.hidden());
    boolean computed = spec.router().hasLogits();
    if (!scenario.is(Option.BARE)) {
      if (computed) {
        output("ids", I32, tokens, slots);
        output("routingWeights", F32, tokens, slots);
        output("logits", F32, tokens, spec.experts());
      }
      output("counts", I32, spec.experts());
    }
    if (scenario.isTraining()) {
      output("saved.ids", I32, tokens, slots);
      output("saved.routingWeights", F32, tokens, slots);
      output("saved.permutation", I32, tokens * slots);
      if (computed) {
        output("saved.logits", F32, tokens, spec.experts());
      }
      if (scenario.is(Option.SAVED_Z)) {
        output("saved.z", spec.dataType(), tokens * slots, spec.projected());
      }
    }
  }

  /** Makes the tensors of a backward pass; returns the names of the gradients. */
  Iterable<String> gradients() {
    padded("dy", spec.dataType(), spec.hidden());
    boolean computed = spec.router().hasLogits();
    if (scenario.is(Option.AUXILIARY)) {
      padded("auxiliaryDlogits", F32, spec.experts());
    }
    Map<String, Operand> gradients = new LinkedHashMap<>();
    long tokens = scenario.tokens;
    if (!scenario.is(Option.ONLY_PARAMETERS)) {
      gradients.put("dx", output("dx", spec.dataType(), tokens, spec.hidden()));
    }
    if (!scenario.is(Option.ONLY_PARAMETERS) && !scenario.is(Option.ONLY_DX)) {
      if (computed) {
        gradients.put("dlogits", output("dlogits", F32, tokens, spec.experts()));
      } else {
        gradients.put("dgivenWeights", output("dgivenWeights", F32, tokens, spec.topK()));
      }
    }
    if (!scenario.is(Option.ONLY_DX)) {
      for (String weight : PARAMETERS) {
        Operand operand = operands.get(weight);
        if (operand != null) {
          gradients.put("d" + weight, parameter("d" + weight, operand.shape()));
        }
      }
    }
    return gradients.keySet();
  }

  private static final String[] PARAMETERS = {
    "routerWeight",
    "routerBias",
    "gateUp",
    "gate",
    "up",
    "gateUpBias",
    "down",
    "downBias",
    "sharedGateUp",
    "sharedDown",
    "sharedGateWeight"
  };

  private Operand parameter(String name, long... shape) {
    CaseContext.TensorOf tensor =
        context.tensor(name, spec.gradientType(), shape).values(scenario.valuesOf(name));
    Operand operand = scenario.is(Option.ACCUMULATE) ? tensor.inout() : tensor.output();
    operands.put(name, operand);
    return operand;
  }

  private void input(String name, DataType type, long... shape) {
    operands.put(name, context.tensor(name, type, shape).values(scenario.valuesOf(name)).input());
  }

  /** A row for each token; those of padding hold NaN. */
  private void padded(String name, DataType type, long columns) {
    operands.put(
        name,
        context
            .tensor(name, type, scenario.tokens, columns)
            .values(scenario.valuesOf(name).rows(scenario.rows(), scenario.tokens, Double.NaN))
            .input());
  }

  private Operand output(String name, DataType type, long... shape) {
    Operand operand = context.tensor(name, type, shape).output();
    operands.put(name, operand);
    return operand;
  }

  /** A tensor that the case has. */
  Operand get(String name) {
    return Objects.requireNonNull(operands.get(name), name);
  }

  /** The outputs of forward, saved ones among them. */
  Iterable<Map.Entry<String, Operand>> forwardOutputs() {
    Map<String, Operand> outputs = new LinkedHashMap<>();
    for (String name :
        new String[] {
          "saved.ids",
          "ids",
          "saved.permutation",
          "counts",
          "logits",
          "saved.logits",
          "routingWeights",
          "saved.routingWeights",
          "saved.z",
          "y"
        }) {
      Operand operand = operands.get(name);
      if (operand != null) {
        outputs.put(name, operand);
      }
    }
    return outputs.entrySet();
  }

  private @Nullable Tensor on(Side side, String name) {
    return side.ofNullable(operands.get(name));
  }

  private Tensor required(Side side, String name) {
    return side.of(get(name));
  }

  private MoeBinding bound(Side side) {
    return side.once(this, () -> side.prepare(spec).bind(weights(side)));
  }

  /** The weights, to be bound to any kernel of the case's spec. */
  MoeWeights weights(Side side) {
    return weights(side, 0, spec.localExperts(), true);
  }

  /**
   * The weights of some experts.
   *
   * @param side whose tensors
   * @param first the first of them, counted within the tensors
   * @param count how many
   * @param shared whether the shared expert is among them
   */
  MoeWeights weights(Side side, int first, int count, boolean shared) {
    return MoeWeights.of(required(side, "down").slice(0, first, first + count))
        .gateUp(part(on(side, "gateUp"), first, count))
        .gate(part(on(side, "gate"), first, count))
        .up(part(on(side, "up"), first, count))
        .gateUpBias(part(on(side, "gateUpBias"), first, count))
        .downBias(part(on(side, "downBias"), first, count))
        .routerWeight(on(side, "routerWeight"))
        .routerBias(on(side, "routerBias"))
        .correctionBias(on(side, "correctionBias"))
        .sharedGateUp(shared ? on(side, "sharedGateUp") : null)
        .sharedDown(shared ? on(side, "sharedDown") : null)
        .sharedGateWeight(shared ? on(side, "sharedGateWeight") : null);
  }

  private static @Nullable Tensor part(@Nullable Tensor tensor, int first, int count) {
    return tensor == null ? null : tensor.slice(0, first, first + count);
  }

  private MoeSaved saved(Side side) {
    return MoeSaved.of(
            required(side, "saved.ids"),
            required(side, "saved.routingWeights"),
            required(side, "saved.permutation"))
        .logits(on(side, "saved.logits"))
        .z(on(side, "saved.z"));
  }

  MoeForward forward(Side side) {
    return forward(side, bound(side));
  }

  /** The arguments of a launch with weights of its own. */
  MoeForward forward(Side side, MoeBinding weights) {
    return MoeForward.of(weights, required(side, "x"), required(side, "y"))
        .givenLogits(on(side, "givenLogits"))
        .givenIds(on(side, "givenIds"))
        .givenWeights(on(side, "givenWeights"))
        .tokenCount(on(side, "tokenCount"))
        .ids(on(side, "ids"))
        .routingWeights(on(side, "routingWeights"))
        .logits(on(side, "logits"))
        .counts(on(side, "counts"))
        .saved(scenario.isTraining() ? saved(side) : null);
  }

  MoeBackward backward(Side side) {
    return MoeBackward.of(bound(side), required(side, "x"), required(side, "dy"), saved(side))
        .tokenCount(on(side, "tokenCount"))
        .auxiliaryDlogits(on(side, "auxiliaryDlogits"))
        .dx(on(side, "dx"))
        .dlogits(on(side, "dlogits"))
        .dgivenWeights(on(side, "dgivenWeights"))
        .drouterWeight(on(side, "drouterWeight"))
        .drouterBias(on(side, "drouterBias"))
        .dgateUp(on(side, "dgateUp"))
        .dgate(on(side, "dgate"))
        .dup(on(side, "dup"))
        .dgateUpBias(on(side, "dgateUpBias"))
        .ddown(on(side, "ddown"))
        .ddownBias(on(side, "ddownBias"))
        .dsharedGateUp(on(side, "dsharedGateUp"))
        .dsharedDown(on(side, "dsharedDown"))
        .dsharedGateWeight(on(side, "dsharedGateWeight"))
        .accumulate(scenario.is(Option.ACCUMULATE));
  }
}
