package dev.weft.conformance.vectors;

import static dev.weft.conformance.vectors.CaseReader.ANY;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.Tensor;
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
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** {@code moe_dispatch}: routing, experts and combination, forward and backward. */
record MoeCase(
    HostTensor x,
    int topK,
    Routing routing,
    Experts experts,
    @Nullable Shared shared,
    @Nullable HostTensor dout)
    implements CaseOperation {
  static final String OP = "moe_dispatch";

  private static final Map<String, Score> SCORES =
      Map.of("identity", Score.IDENTITY, "softmax", Score.SOFTMAX, "sigmoid", Score.SIGMOID);
  private static final Map<String, Normalize> NORMALIZES =
      Map.of("none", Normalize.NONE, "sum", Normalize.SUM, "softmax", Normalize.SOFTMAX);
  private static final Map<String, GroupScore> GROUP_SCORES =
      Map.of("best", GroupScore.BEST, "top2_sum", GroupScore.TOP2_SUM);
  private static final Map<String, ExpertActivation> ACTIVATIONS =
      Map.of(
          "swiglu", ExpertActivation.SWIGLU,
          "swiglu_clamped", ExpertActivation.SWIGLU_CLAMPED,
          "geglu", ExpertActivation.GEGLU,
          "geglu_tanh", ExpertActivation.GEGLU_TANH,
          "relu2", ExpertActivation.RELU2);
  private static final Map<String, GateUpLayout> LAYOUTS =
      Map.of(
          "concatenated", GateUpLayout.GATE_FIRST,
          "up_first", GateUpLayout.UP_FIRST,
          "interleaved", GateUpLayout.INTERLEAVED);

  /** Where ids and weights come from: a router, given logits, or given as they are. */
  record Routing(
      RouterSpec spec,
      @Nullable HostTensor routerWeight,
      @Nullable HostTensor routerBias,
      @Nullable HostTensor correctionBias,
      @Nullable HostTensor logits,
      @Nullable HostTensor ids,
      @Nullable HostTensor weights) {
    static Routing read(CaseReader in, long rows, long hidden, long experts, int topK) {
      Source source =
          in.has("topk_ids")
              ? Source.GIVEN
              : in.has("router_logits") ? Source.LOGITS : Source.ROUTER;
      RouterSpec.Builder spec = RouterSpec.builder().source(source);
      if (source == Source.GIVEN) {
        return new Routing(
            spec.build(),
            null,
            null,
            null,
            null,
            in.integers("topk_ids", DataType.I32, "[T,top_k]", rows, topK),
            in.floats("topk_weights", "[T,top_k]", rows, topK));
      }
      boolean computed = source == Source.ROUTER;
      HostTensor routerBias = computed ? in.optionalFloats("router_bias", "[E]", experts) : null;
      HostTensor correctionBias = in.optionalFloats("correction_bias", "[E]", experts);
      spec.score(in.choice("score", SCORES))
          .routerBias(routerBias != null)
          .correctionBias(correctionBias != null)
          .normalize(in.choice("normalize", NORMALIZES))
          .epsilon(in.number("normalize_epsilon", 0))
          .scalingFactor(in.number("routed_scaling_factor", 1));
      int groups = in.integer("n_group", 1, 1);
      int kept = in.integer("topk_group", 1, 1);
      if (groups > 1) {
        spec.groups(groups, kept, in.choice("group_score", GROUP_SCORES));
      } else if (kept != 1) {
        throw in.wrong("attribute topk_group: expected 1, as n_group is 1, but was " + kept);
      }
      try {
        return new Routing(
            spec.build(),
            computed ? in.floats("router_weight", "[E,H]", experts, hidden) : null,
            routerBias,
            correctionBias,
            computed ? null : in.floats("router_logits", "[T,E]", rows, experts),
            null,
            null);
      } catch (VectorFormatException e) {
        throw e;
      } catch (IllegalArgumentException e) {
        throw in.wrong(String.valueOf(e.getMessage()));
      }
    }

    Source source() {
      return spec.source();
    }
  }

  /** The experts' own weights. */
  record Experts(
      HostTensor gateUp,
      HostTensor down,
      @Nullable HostTensor gateUpBias,
      @Nullable HostTensor downBias,
      ExpertActivation activation,
      float alpha,
      float limit,
      GateUpLayout layout) {
    static Experts read(CaseReader in, long hidden) {
      ExpertActivation activation = in.choice("activation", ACTIVATIONS);
      boolean clamped = activation == ExpertActivation.SWIGLU_CLAMPED;
      HostTensor down = in.floats("w_down", "[E,H,I]", ANY, hidden, ANY);
      long experts = down.shape()[0];
      long projected = projected(activation, down.shape()[2]);
      String shape = activation.isGated() ? "[E,2I,H]" : "[E,I,H]";
      HostTensor gateUpBias = in.optionalFloats("b_gate_up", "[E,2I]", experts, projected);
      HostTensor downBias = in.optionalFloats("b_down", "[E,H]", experts, hidden);
      if ((gateUpBias == null) != (downBias == null)) {
        throw in.wrong(
            "tensor "
                + (downBias == null ? "b_down" : "b_gate_up")
                + ": expected both or none of"
                + " b_gate_up and b_down, but there is one");
      }
      if (clamped) {
        in.text("swiglu_alpha");
        in.text("swiglu_limit");
      }
      return new Experts(
          in.floats("w_gate_up", shape, experts, projected, hidden),
          down,
          gateUpBias,
          downBias,
          activation,
          clamped ? in.number("swiglu_alpha", 0) : 0,
          clamped ? in.number("swiglu_limit", 0) : 0,
          in.choice("gate_up_layout", LAYOUTS, GateUpLayout.GATE_FIRST));
    }

    long count() {
      return down.shape()[0];
    }

    static long projected(ExpertActivation activation, long width) {
      return activation.isGated() ? 2 * width : width;
    }
  }

  /** The expert that every token goes through. */
  record Shared(HostTensor gateUp, HostTensor down, @Nullable HostTensor gateWeight) {
    static @Nullable Shared read(CaseReader in, long hidden, ExpertActivation activation) {
      HostTensor down = in.optionalFloats("shared_w_down", "[H,Is]", hidden, ANY);
      HostTensor gateWeight = in.optionalFloats("shared_gate_weight", "[1,H]", 1, hidden);
      boolean gated = in.choice("shared_gate", Map.of("none", false, "sigmoid", true), false);
      if (gated != (gateWeight != null)) {
        throw in.wrong(
            gated
                ? "tensor shared_gate_weight: expected one, as shared_gate is sigmoid"
                : "attribute shared_gate: expected sigmoid, as there is a shared_gate_weight");
      }
      if (down == null) {
        if (gated || in.has("shared_w_gate_up")) {
          throw in.wrong("tensor shared_w_down: expected one, as there is a shared expert");
        }
        return null;
      }
      String shape = activation.isGated() ? "[2Is,H]" : "[Is,H]";
      long projected = Experts.projected(activation, down.shape()[1]);
      return new Shared(in.floats("shared_w_gate_up", shape, projected, hidden), down, gateWeight);
    }
  }

  static MoeCase read(CaseReader in) {
    HostTensor x = in.floats("x", "[T,H]", ANY, ANY);
    long rows = x.shape()[0];
    long hidden = x.shape()[1];
    int topK = in.integer("top_k", 1);
    Experts experts = Experts.read(in, hidden);
    return new MoeCase(
        x,
        topK,
        Routing.read(in, rows, hidden, experts.count(), topK),
        experts,
        Shared.read(in, hidden, experts.activation()),
        in.optionalFloats("dout", "[T,H]", rows, hidden));
  }

  @Override
  public MoeDispatchSpec spec(DataType type) {
    MoeDispatchSpec.Builder spec =
        MoeDispatchSpec.builder()
            .dataType(type)
            .hidden(Math.toIntExact(x.shape()[1]))
            .intermediate(Math.toIntExact(experts.down().shape()[2]))
            .experts(Math.toIntExact(experts.count()))
            .topK(topK)
            .router(routing.spec())
            .activation(experts.activation())
            .gateUpLayout(experts.layout())
            .expertBias(experts.downBias() != null);
    if (experts.activation() == ExpertActivation.SWIGLU_CLAMPED) {
      spec.swigluAlpha(experts.alpha()).swigluLimit(experts.limit());
    }
    if (shared != null) {
      spec.sharedIntermediate(Math.toIntExact(shared.down().shape()[1]))
          .sharedGate(shared.gateWeight() != null);
    }
    return dout == null
        ? spec.modes(Mode.FORWARD).build()
        : spec.modes(Mode.FORWARD, Mode.BACKWARD).build();
  }

  @Override
  public void run(CaseTensors on) {
    MoeDispatch moe = on.prepare(spec(on.type()));
    MoeBinding weights = on.closing(moe.bind(weights(on)));
    Tensor input = on.input(x);
    MoeForward forward = MoeForward.of(weights, input, on.output("out", on.type(), x.shape()));
    MoeSaved saved = dout == null ? null : saved(on, moe.spec());
    moe.forward(on.stream(), routed(forward, on).saved(saved));
    if (dout != null && saved != null) {
      MoeBackward backward = MoeBackward.of(weights, input, on.input(dout), saved);
      moe.backward(on.stream(), gradients(backward, on));
    }
  }

  private MoeWeights weights(CaseTensors on) {
    MoeWeights weights =
        MoeWeights.of(on.input(experts.down()))
            .gateUp(on.input(experts.gateUp()))
            .gateUpBias(on.optionalInput(experts.gateUpBias()))
            .downBias(on.optionalInput(experts.downBias()))
            .routerWeight(on.optionalInput(routing.routerWeight()))
            .routerBias(on.optionalInput(routing.routerBias()))
            .correctionBias(inF32(on, routing.correctionBias()));
    return shared == null
        ? weights
        : weights
            .sharedGateUp(on.input(shared.gateUp()))
            .sharedDown(on.input(shared.down()))
            .sharedGateWeight(on.optionalInput(shared.gateWeight()));
  }

  /** Routing arithmetic is F32 whatever the type of the run: its inputs are not rounded. */
  private static @Nullable Tensor inF32(CaseTensors on, @Nullable HostTensor source) {
    return source == null ? null : on.input(source, DataType.F32);
  }

  private MoeForward routed(MoeForward forward, CaseTensors on) {
    long rows = x.shape()[0];
    if (routing.source() == Source.GIVEN) {
      return forward
          .givenIds(on.optionalInput(routing.ids()))
          .givenWeights(inF32(on, routing.weights()));
    }
    MoeForward withOutputs =
        forward
            .ids(on.output("topk_ids", DataType.I32, rows, topK))
            .routingWeights(on.output("topk_weights", DataType.F32, rows, topK));
    return routing.source() == Source.LOGITS
        ? withOutputs.givenLogits(inF32(on, routing.logits()))
        : withOutputs.logits(on.output("router_logits", DataType.F32, rows, experts.count()));
  }

  private MoeSaved saved(CaseTensors on, MoeDispatchSpec spec) {
    long rows = x.shape()[0];
    long slots = rows * topK;
    return MoeSaved.of(
            on.zeros(DataType.I32, rows, topK),
            on.zeros(DataType.F32, rows, topK),
            on.zeros(DataType.I32, slots))
        .logits(
            routing.source() == Source.GIVEN ? null : on.zeros(DataType.F32, rows, experts.count()))
        .z(on.zeros(on.type(), slots, spec.projected()));
  }

  private MoeBackward gradients(MoeBackward backward, CaseTensors on) {
    long rows = x.shape()[0];
    MoeBackward all =
        backward
            .dx(on.output("dx", on.type(), x.shape()))
            .dgateUp(gradient(on, "dw_gate_up", experts.gateUp()))
            .ddown(gradient(on, "dw_down", experts.down()))
            .dgateUpBias(gradient(on, "db_gate_up", experts.gateUpBias()))
            .ddownBias(gradient(on, "db_down", experts.downBias()));
    all =
        switch (routing.source()) {
          case ROUTER ->
              all.drouterWeight(gradient(on, "drouter_weight", routing.routerWeight()))
                  .drouterBias(gradient(on, "drouter_bias", routing.routerBias()));
          case LOGITS ->
              all.dlogits(on.output("drouter_logits", DataType.F32, rows, experts.count()));
          case GIVEN -> all.dgivenWeights(on.output("dtopk_weights", DataType.F32, rows, topK));
        };
    return shared == null
        ? all
        : all.dsharedGateUp(gradient(on, "dshared_w_gate_up", shared.gateUp()))
            .dsharedDown(gradient(on, "dshared_w_down", shared.down()))
            .dsharedGateWeight(gradient(on, "dshared_gate_weight", shared.gateWeight()));
  }

  /** The gradient of a parameter, F32; null where there is no such parameter. */
  private static @Nullable Tensor gradient(
      CaseTensors on, String name, @Nullable HostTensor parameter) {
    return parameter == null ? null : on.output(name, DataType.F32, parameter.shape());
  }
}
