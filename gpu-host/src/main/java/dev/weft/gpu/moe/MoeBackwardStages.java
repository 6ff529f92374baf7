package dev.weft.gpu.moe;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.gpu.Region;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeWeights;
import dev.weft.spi.LaunchContext;
import org.jspecify.annotations.Nullable;

/**
 * A backward pass over a group of tokens: which of its stages the caller's tensors ask for, in
 * which order, and on what scratch memory. First the lists of slots, then the shared expert's
 * stages, those of the routed experts, and the router's. A backend fills the arguments of each
 * stage's kernel and enqueues it.
 */
public abstract class MoeBackwardStages {
  protected final MoeDispatchSpec spec;

  /** The caller's tensors, of all tokens. */
  protected final MoeBackward a;

  /** The weights as they were bound. */
  protected final BoundWeights bound;

  /** The weights' tensors. */
  protected final MoeWeights weights;

  /** Of the group. */
  protected final MoeBackwardPlan plan;

  /** The first token of the group. */
  protected final long first;

  /** Whether gradients of parameters are added to what is there. */
  protected final boolean accumulates;

  // The group's rows.
  protected final Tensor x;
  protected final Tensor dy;
  protected final Tensor ids;
  protected final Tensor routingWeights;

  /** How many of the group's tokens there are; null for all. Of a group: known after rows(). */
  protected final @Nullable Region tokenCount;

  protected final boolean needsDx;
  protected final boolean needsDlogits;

  /** Whether gradients of the routing weights are needed, if only for those of the logits. */
  protected final boolean needsWeightGradients;

  protected final boolean needsSharedGate;

  private final Scratch scratch;

  /** Looks at what is asked for; enqueues nothing. */
  protected MoeBackwardStages(
      LaunchContext context,
      MoeDispatchSpec spec,
      MoeBackward a,
      MoeBackwardPlan plan,
      long first) {
    this.spec = spec;
    this.a = a;
    this.plan = plan;
    this.first = first;
    bound = (BoundWeights) a.weights().backend();
    weights = bound.tensors();
    accumulates = a.accumulate() || first > 0;
    scratch = Scratch.of(context);
    x = ofGroup(a.x());
    dy = ofGroup(a.dy());
    ids = ofGroup(a.saved().ids());
    routingWeights = ofGroup(a.saved().routingWeights());
    Region counts = at(plan.allTokens);
    tokenCount =
        a.tokenCount() == null || plan.isWhole() || counts == null
            ? Region.ofNullable(a.tokenCount())
            : counts.plus(Integer.BYTES);
    needsDx = a.dx() != null;
    boolean routed = plan.routerColumns() > 0;
    needsDlogits =
        spec.router().hasLogits()
            && (a.dlogits() != null
                || (routed && needsDx)
                || a.drouterWeight() != null
                || a.drouterBias() != null);
    needsWeightGradients = needsDlogits || a.dgivenWeights() != null;
    needsSharedGate = spec.sharedGate() && (needsDx || a.dsharedGateWeight() != null);
  }

  /** Makes the stages of a group of tokens. */
  public interface Groups {
    /** The group that a plan is of, from a token on. */
    MoeBackwardStages of(MoeBackwardPlan plan, long first);
  }

  /**
   * Enqueues a pass over all tokens: one group, or several where the spec's workspace limit asks
   * for it.
   */
  public static void run(
      MoeDispatchSpec spec,
      MoeBackwardPlan.Tiles tiles,
      MoePlan.Stages sorts,
      long tokens,
      Groups groups) {
    MoeBackwardPlan most = MoeBackwardPlan.of(spec, tiles, sorts, tokens);
    long first = 0;
    do {
      long count = Math.min(most.tokens, tokens - first);
      groups.of(new MoeBackwardPlan(spec, tiles, sorts, count, tokens), first).run();
      first += count;
    } while (first < tokens);
  }

  private void run() {
    if (!plan.isWhole()) {
      sort();
    }
    rows();
    tiles(plan.routed, spec.localExperts());
    ExpertWeights sharedExpert = bound.shared();
    if (sharedExpert != null) {
      sharedRows();
      tiles(plan.shared, 1);
      experts(BackwardExperts.shared(spec, plan, a, sharedExpert), needsSharedGate);
    }
    experts(BackwardExperts.routed(spec, plan, a, bound.routed()), needsWeightGradients);
    downBias();
    if (needsDx || needsWeightGradients || needsSharedGate) {
      tokens();
    }
    Tensor dx = a.dx();
    if (dx != null) {
      dx(MatrixRows.of(ofGroup(dx)));
    }
    routerGradients();
  }

  /** Orders the group's slots as forward ordered all of them, and finds those in z. */
  private void sort() {
    if (first == 0 && a.saved().z() != null) {
      sort(a.saved().ids(), plan.all, null, at(plan.zOfSlot));
    }
    sort(ids, plan.tokens, permutation(), null);
  }

  /** All that the weights, biases and inputs of some experts get. */
  private void experts(BackwardExperts e, boolean needsSums) {
    ProjectionRows biasGradient = e.biasGradient();
    boolean needsDz = needsDx || e.projectionGradient().isPresent() || biasGradient != null;
    boolean needsActivation = e.downGradient().isPresent();
    MatrixRows dz =
        MatrixRows.scratch(at(plan.dz), MoeBackwardPlan.pitch(e.projected()), plan.keptType());
    MatrixRows activation =
        MatrixRows.scratch(at(plan.activation), MoeBackwardPlan.pitch(e.width()), plan.keptType());
    MatrixRows low =
        plan.keepsLowPart() && needsActivation
            ? MatrixRows.scratch(at(plan.activationLow), activation.pitch(), plan.keptType())
            : MatrixRows.NONE;
    if (e.lists().rows > 0 && (needsDz || needsActivation || needsSums)) {
      MatrixRows z = MatrixRows.of(e.savedZ());
      if (e.savedZ() == null) {
        z = MatrixRows.scratch(at(plan.zOrDx), MoeBackwardPlan.pitch(e.projected()), DataType.F32);
        project(e, z);
      }
      slotGradients(
          e,
          z,
          needsDz ? dz : MatrixRows.NONE,
          needsActivation ? activation : MatrixRows.NONE,
          low,
          needsSums ? at(e.weightSums()) : null);
    }
    if (needsDx && e.lists().rows > 0) {
      inputGradients(e, dz);
    }
    if (needsActivation) {
      downGradient(e, activation, low);
    }
    if (e.projectionGradient().isPresent()) {
      projectionGradient(e, dz);
    }
    if (biasGradient != null) {
      columnSums(
          new ColumnSums(
              at(e.lists().experts), dz, biasGradient, e.count(), e.projected(), false, false));
    }
  }

  private void downBias() {
    Tensor gradient = a.ddownBias();
    if (gradient != null) {
      columnSums(
          new ColumnSums(
              at(plan.routed.experts),
              MatrixRows.of(dy),
              ProjectionRows.elements(gradient, spec.hidden()),
              spec.localExperts(),
              spec.hidden(),
              true,
              true));
    }
  }

  private void routerGradients() {
    ProjectionRows out =
        ProjectionRows.router(
            a.drouterWeight(), a.dsharedGateWeight(), spec.gradientType(), plan.routerColumns());
    if (out.isPresent()) {
      routerWeights();
      routerSums(out);
    }
    Tensor bias = a.drouterBias();
    if (bias != null) {
      columnSums(
          new ColumnSums(
              at(plan.allTokens),
              columns(),
              ProjectionRows.elements(bias, plan.routerColumns()),
              1,
              plan.routerColumns(),
              false,
              false));
    }
  }

  // ---- what the stages' arguments are made of

  /** A place in scratch memory, by the plan's offset. */
  protected final @Nullable Region at(long offset) {
    return scratch.at(offset);
  }

  /** The group's rows of a tensor of all tokens. */
  private Tensor ofGroup(Tensor tensor) {
    return plan.isWhole() ? tensor : tensor.slice(0, first, first + plan.tokens);
  }

  /** The group's rows of a tensor of all tokens, if there is one. */
  protected final @Nullable Tensor ofGroupOrNull(@Nullable Tensor tensor) {
    return tensor == null ? null : ofGroup(tensor);
  }

  /** The order of the group's slots. */
  protected final @Nullable Region permutation() {
    return plan.isWhole() ? Region.of(a.saved().permutation()) : at(plan.permutation);
  }

  private boolean findsZ() {
    return !plan.isWhole() && a.saved().z() != null;
  }

  /** The row of z of each of the group's slots; null where rows of z are the sorted rows. */
  protected final @Nullable Region zOfSlots() {
    return findsZ() ? at(plan.zOfSlot + first * spec.topK() * Integer.BYTES) : null;
  }

  /** The row of z of each sorted row; null where it has the same number. */
  protected final @Nullable Region zRows() {
    return findsZ() ? at(plan.zRows) : null;
  }

  /** A row of dx for each slot. */
  protected final MatrixRows slotDx(long offset) {
    return MatrixRows.scratch(at(offset), MoeBackwardPlan.pitch(spec.hidden()), plan.keptType());
  }

  /** A row of dx for each token of the shared expert, if there is one. */
  protected final MatrixRows sharedDx() {
    return bound.shared() == null ? MatrixRows.NONE : slotDx(plan.sharedDx);
  }

  /** The gradients of each token's logits, and of the shared expert's gate after them. */
  protected final MatrixRows columns() {
    return MatrixRows.scratch(at(plan.columns), plan.columnPitch(), DataType.F32);
  }

  /** The weights that {@link #columns()} are multiplied with. */
  protected final ProjectionRows routerRows() {
    return ProjectionRows.router(
        weights.routerWeight(),
        weights.sharedGateWeight(),
        spec.routerType(),
        plan.routerColumns());
  }

  // ---- the stages, each a kernel

  /**
   * Sorts slots by expert.
   *
   * @param sorted their expert ids
   * @param tokens rows of those
   * @param permutation where the order goes, if it is asked for
   * @param inverse where the place of each slot goes, if it is asked for
   */
  protected abstract void sort(
      Tensor sorted, long tokens, @Nullable Region permutation, @Nullable Region inverse);

  /** The lists of the routed experts' slots. */
  protected abstract void rows();

  /** The lists of the shared expert's slots, which are the tokens. */
  protected abstract void sharedRows();

  /** The tiles of lists of slots. */
  protected abstract void tiles(MoeBackwardPlan.Lists lists, int experts);

  /** z again, where forward did not keep it. */
  protected abstract void project(BackwardExperts e, MatrixRows z);

  /**
   * From z and dy what the other stages multiply.
   *
   * @param e the experts
   * @param z their first products
   * @param dz gradients of z, if needed
   * @param activation what the second projection multiplied, weighed, if needed
   * @param low what the activation's type lost of it, if kept
   * @param sums the parts of each slot's dweight, if needed
   */
  protected abstract void slotGradients(
      BackwardExperts e,
      MatrixRows z,
      MatrixRows dz,
      MatrixRows activation,
      MatrixRows low,
      @Nullable Region sums);

  /** The part of dx of each slot. */
  protected abstract void inputGradients(BackwardExperts e, MatrixRows dz);

  /** The gradient of the second projection's weights. */
  protected abstract void downGradient(BackwardExperts e, MatrixRows activation, MatrixRows low);

  /** The gradient of the first projection's weights. */
  protected abstract void projectionGradient(BackwardExperts e, MatrixRows dz);

  /**
   * What a gradient of biases is: sums over slots.
   *
   * @param experts where each expert's slots begin and end
   * @param values a row for each slot, or for each token
   * @param out the sums
   * @param count how many experts
   * @param columns elements of a row
   * @param byToken whether rows are tokens'
   * @param weighted whether each slot counts by its weight
   */
  protected record ColumnSums(
      @Nullable Region experts,
      MatrixRows values,
      ProjectionRows out,
      int count,
      int columns,
      boolean byToken,
      boolean weighted) {}

  /** Sums over the slots of experts. */
  protected abstract void columnSums(ColumnSums sums);

  /** The gradients of each token's routing weights, logits and gate of the shared expert. */
  protected abstract void tokens();

  /** dx: a token's slots in slot order, the shared expert's part and the router's. */
  protected abstract void dx(MatrixRows out);

  /** The gradients of the router's weights, a part for each piece of the tokens. */
  protected abstract void routerWeights();

  /** The sums of those parts. */
  protected abstract void routerSums(ProjectionRows out);
}
