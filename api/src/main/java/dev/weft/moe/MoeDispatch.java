package dev.weft.moe;

import static dev.weft.DataType.F32;
import static dev.weft.DataType.I32;

import dev.weft.DataType;
import dev.weft.Kernel;
import dev.weft.Launch;
import dev.weft.Limits;
import dev.weft.Prepared;
import dev.weft.Sequences;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.moe.MoeDispatchSpec.Mode;
import dev.weft.moe.RouterSpec.Source;
import dev.weft.spi.MoeKernel;
import org.jspecify.annotations.Nullable;

/**
 * A mixture of experts on a device: {@code y[t] = sum over slots of weight * expert(x[t]) + shared
 * expert}. Every launch enqueues and returns. Slots are summed in slot order; there is no capacity;
 * a slot with an id outside [0, E) is skipped.
 */
public final class MoeDispatch extends Kernel<MoeKernel> {
  private final MoeDispatchSpec spec;

  MoeDispatch(Prepared prepared, MoeDispatchSpec spec) {
    super(prepared, MoeKernel.class);
    this.spec = spec;
  }

  /**
   * Returns what this was prepared for.
   *
   * @return the spec
   */
  public MoeDispatchSpec spec() {
    return spec;
  }

  @Override
  public long workspaceBytes(Limits limits) {
    long most = 0;
    for (Mode mode : spec.modes()) {
      most = Math.max(most, workspaceBytes(mode, limits));
    }
    return most;
  }

  /**
   * Returns the scratch memory that launches of one mode need at most. Pure.
   *
   * @param mode the mode
   * @param limits the most tokens
   * @return bytes
   * @throws IllegalArgumentException if the spec lacks the mode
   */
  public long workspaceBytes(Mode mode, Limits limits) {
    requireMode(Launch.of("workspaceBytes"), mode);
    return bytes("MoeKernel.workspaceBytes", k -> k.workspaceBytes(mode, limits));
  }

  /**
   * Binds weights, once for many launches.
   *
   * @param w the weights that the spec asks for
   * @return the binding, to be closed
   * @throws IllegalArgumentException naming a tensor that is missing, superfluous or does not fit
   */
  public MoeBinding bind(MoeWeights w) {
    Launch check = Launch.of("moe.bind");
    long count = spec.localExperts();
    long hidden = spec.hidden();
    long width = spec.intermediate();
    long sharedWidth = spec.sharedIntermediate();
    boolean separate = spec.gateUpLayout() == GateUpLayout.SEPARATE;
    boolean shared = sharedWidth > 0;
    boolean router = spec.router().source() == Source.ROUTER;
    DataType type = spec.weightType();
    DataType routerType = spec.routerType();
    weight(check, "down", w.down(), true, type, count, hidden, width);
    weight(check, "gateUp", w.gateUp(), !separate, type, count, spec.projected(), hidden);
    weight(check, "gate", w.gate(), separate, type, count, width, hidden);
    weight(check, "up", w.up(), separate, type, count, width, hidden);
    weight(check, "gateUpBias", w.gateUpBias(), spec.expertBias(), type, count, spec.projected());
    weight(check, "downBias", w.downBias(), spec.expertBias(), type, count, hidden);
    weight(check, "routerWeight", w.routerWeight(), router, routerType, spec.experts(), hidden);
    weight(
        check,
        "routerBias",
        w.routerBias(),
        spec.router().routerBias(),
        routerType,
        spec.experts());
    weight(
        check,
        "correctionBias",
        w.correctionBias(),
        spec.router().hasLogits() && spec.router().correctionBias(),
        F32,
        spec.experts());
    weight(check, "sharedGateUp", w.sharedGateUp(), shared, type, spec.sharedProjected(), hidden);
    weight(check, "sharedDown", w.sharedDown(), shared, type, hidden, sharedWidth);
    weight(
        check, "sharedGateWeight", w.sharedGateWeight(), spec.sharedGate(), routerType, 1, hidden);
    return new MoeBinding(this, check, w, () -> backend().bind(w));
  }

  private static void weight(
      Launch check,
      String name,
      @Nullable Tensor tensor,
      boolean needed,
      DataType type,
      long... shape) {
    check.require(
        (tensor != null) == needed,
        () -> name + ": the spec " + (needed ? "needs it" : "has none") + ", but it was " + tensor);
    check.read(name, tensor, type, shape);
  }

  /**
   * Enqueues routing, experts and combination.
   *
   * @param stream orders it
   * @param a the tensors
   * @throws IllegalArgumentException naming the tensor that does not fit, before anything is
   *     enqueued
   */
  public void forward(Stream stream, MoeForward a) {
    Launch launch = start("moe.forward", Mode.FORWARD, a.weights());
    long tokens = rows(launch, a.x());
    long slots = spec.topK();
    long experts = spec.experts();
    Source source = spec.router().source();
    boolean computed = spec.router().hasLogits();
    launch
        .read("x", a.x(), spec.dataType(), tokens, spec.hidden())
        .write("y", a.y(), spec.dataType(), tokens, spec.hidden())
        .require(
            (a.givenLogits() != null) == (source == Source.LOGITS),
            () ->
                "givenLogits: the router's source is "
                    + source
                    + ", but they were "
                    + a.givenLogits())
        .require(
            (a.givenIds() != null) == (source == Source.GIVEN)
                && (a.givenWeights() != null) == (source == Source.GIVEN),
            () -> "givenIds and givenWeights: the router's source is " + source)
        .require(
            computed || (a.ids() == null && a.routingWeights() == null && a.logits() == null),
            () -> "ids, routingWeights and logits: nothing to write, as the routing is given")
        .read("givenLogits", a.givenLogits(), F32, tokens, experts)
        .read("givenIds", a.givenIds(), I32, tokens, slots)
        .read("givenWeights", a.givenWeights(), F32, tokens, slots)
        .read("tokenCount", a.tokenCount(), I32, 1)
        .write("ids", a.ids(), I32, tokens, slots)
        .write("routingWeights", a.routingWeights(), F32, tokens, slots)
        .write("logits", a.logits(), F32, tokens, experts)
        .write("counts", a.counts(), I32, experts);
    MoeSaved saved = a.saved();
    if (saved != null) {
      launch.require(
          spec.modes().contains(Mode.BACKWARD),
          () ->
              "saved: the spec was prepared for "
                  + spec.modes()
                  + " only; add BACKWARD to its modes");
      saved(launch, saved, true, tokens);
    }
    launch
        .workspace(workspaceBytes(Mode.FORWARD, Limits.of(tokens, 1)))
        .validate(v -> {
          count(launch, v, a.tokenCount(), tokens);
          Tensor ids = a.givenIds();
          if (ids != null) {
            Sequences.checkRange(launch.name(), "givenIds", v, ids, experts, -1);
          }
        });
    launch(stream, launch, (kernel, context) -> kernel.forward(context, a));
  }

  /**
   * Enqueues a backward pass.
   *
   * @param stream orders it
   * @param a the tensors
   * @throws IllegalArgumentException naming the tensor that does not fit, before anything is
   *     enqueued
   */
  public void backward(Stream stream, MoeBackward a) {
    Launch launch = start("moe.backward", Mode.BACKWARD, a.weights());
    long tokens = rows(launch, a.x());
    long count = spec.localExperts();
    long hidden = spec.hidden();
    long width = spec.intermediate();
    long experts = spec.experts();
    DataType gradient = spec.gradientType();
    MoeWeights w = a.weights().weights();
    boolean computed = spec.router().hasLogits();
    launch
        .read("x", a.x(), spec.dataType(), tokens, hidden)
        .read("dy", a.dy(), spec.dataType(), tokens, hidden)
        .read("tokenCount", a.tokenCount(), I32, 1)
        .read("auxiliaryDlogits", a.auxiliaryDlogits(), F32, tokens, experts)
        .require(
            computed || (a.auxiliaryDlogits() == null && a.dlogits() == null),
            () -> "auxiliaryDlogits and dlogits: there are no logits, as the routing is given")
        .require(
            !computed || a.dgivenWeights() == null,
            () -> "dgivenWeights: there are none, as the router computes the weights")
        .write("dx", a.dx(), spec.dataType(), tokens, hidden)
        .write("dlogits", a.dlogits(), F32, tokens, experts)
        .write("dgivenWeights", a.dgivenWeights(), F32, tokens, spec.topK());
    saved(launch, a.saved(), false, tokens);
    gradient(
        launch, "drouterWeight", a.drouterWeight(), w.routerWeight(), gradient, experts, hidden);
    gradient(launch, "drouterBias", a.drouterBias(), w.routerBias(), gradient, experts);
    gradient(launch, "dgateUp", a.dgateUp(), w.gateUp(), gradient, count, spec.projected(), hidden);
    gradient(launch, "dgate", a.dgate(), w.gate(), gradient, count, width, hidden);
    gradient(launch, "dup", a.dup(), w.up(), gradient, count, width, hidden);
    gradient(launch, "ddown", a.ddown(), w.down(), gradient, count, hidden, width);
    gradient(
        launch, "dgateUpBias", a.dgateUpBias(), w.gateUpBias(), gradient, count, spec.projected());
    gradient(launch, "ddownBias", a.ddownBias(), w.downBias(), gradient, count, hidden);
    gradient(
        launch,
        "dsharedGateUp",
        a.dsharedGateUp(),
        w.sharedGateUp(),
        gradient,
        spec.sharedProjected(),
        hidden);
    gradient(
        launch,
        "dsharedDown",
        a.dsharedDown(),
        w.sharedDown(),
        gradient,
        hidden,
        spec.sharedIntermediate());
    gradient(
        launch,
        "dsharedGateWeight",
        a.dsharedGateWeight(),
        w.sharedGateWeight(),
        gradient,
        1,
        hidden);
    launch
        .workspace(workspaceBytes(Mode.BACKWARD, Limits.of(tokens, 1)))
        .validate(v -> count(launch, v, a.tokenCount(), tokens));
    launch(stream, launch, (kernel, context) -> kernel.backward(context, a));
  }

  private void saved(Launch launch, MoeSaved saved, boolean written, long tokens) {
    long slots = spec.topK();
    Launch.Layout rows = Launch.Layout.ROWS;
    launch
        .add("saved.ids", saved.ids(), written, rows, I32, tokens, slots)
        .add("saved.routingWeights", saved.routingWeights(), written, rows, F32, tokens, slots)
        .add("saved.permutation", saved.permutation(), written, rows, I32, tokens * slots)
        .add("saved.logits", saved.logits(), written, rows, F32, tokens, spec.experts())
        .add("saved.z", saved.z(), written, rows, spec.dataType(), tokens * slots, spec.projected())
        .require(
            (saved.logits() != null) == spec.router().hasLogits(),
            () ->
                "saved.logits: the router's source is "
                    + spec.router().source()
                    + ", but they were "
                    + saved.logits());
  }

  private static void gradient(
      Launch launch,
      String name,
      @Nullable Tensor gradient,
      @Nullable Tensor weight,
      DataType type,
      long... shape) {
    launch
        .require(gradient == null || weight != null, () -> name + ": there is no such weight")
        .write(name, gradient, type, shape);
  }

  private static void count(
      Launch launch,
      java.util.function.Function<Tensor, dev.weft.HostTensor> download,
      @Nullable Tensor tokenCount,
      long tokens) {
    if (tokenCount != null) {
      long value = (long) download.apply(tokenCount).get(0);
      launch.require(
          value >= 0 && value <= tokens,
          () -> "tokenCount: expected 0.." + tokens + ", but was " + value);
    }
  }

  private Launch requireMode(Launch launch, Mode mode) {
    return launch.require(
        spec.modes().contains(mode),
        () -> "the spec was prepared for " + spec.modes() + " only; add " + mode + " to its modes");
  }

  private Launch start(String name, Mode mode, MoeBinding weights) {
    return requireMode(Launch.of(name), mode)
        .require(
            weights.kernel() == this,
            () -> "weights: bound to another kernel; bind them to this one")
        .uses(weights);
  }

  private long rows(Launch launch, Tensor x) {
    launch.require(x.rank() == 2, () -> "x: expected [T, H], but was " + x);
    long most = Integer.MAX_VALUE / spec.topK();
    launch.require(
        x.size(0) <= most,
        () -> "x: slots are numbered by I32; expected at most " + most + " tokens, but was " + x);
    return x.size(0);
  }
}
