package dev.weft.gpu.moe;

import static java.util.Objects.requireNonNull;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec;
import dev.weft.spi.LaunchContext;
import org.jspecify.annotations.Nullable;

/**
 * Enqueues backward passes: the shared expert's stages, those of the routed experts, then the
 * router's. At most 24 dispatches for a group of tokens, each of which is left out where nothing
 * asks for it, and six more for the order of its slots where there are several groups. The kernels
 * say in moe/backward, moe/backward_rows and moe/backward_router how they work; each method here
 * fills the arguments of one.
 */
final class MoeBackwardPass {
  private static final int LIST_GROUP = 256;
  private static final int SUM_COLUMNS = 16;
  private static final int TOKEN_GROUP = 32;

  /** Tiles of rows that share a tile of columns. */
  private static final int RASTER = 8;

  private final MoeDispatchSpec spec;
  private final MoeBackwardKernels kernels;
  private final RoutingPass routing;
  private final SlotSort sort;

  /** Compiles the kernels that the spec's backward passes need. */
  MoeBackwardPass(ComputeDevice device, MoeDispatchSpec spec, RoutingPass routing, SlotSort sort) {
    this.spec = spec;
    this.routing = routing;
    this.sort = sort;
    kernels = new MoeBackwardKernels(device, spec);
  }

  /** The scratch memory of a launch. */
  static long workspaceBytes(ComputeTraits traits, MoeDispatchSpec spec, long tokens) {
    return MoeBackwardPlan.bytes(
        spec, MoeBackwardKernels.tiles(traits, spec), MoeRecipe.STAGES, tokens);
  }

  /**
   * Enqueues a pass.
   *
   * @param context stream and scratch
   * @param a the tensors
   * @param weights as they were bound
   */
  void run(LaunchContext context, MoeBackward a, BoundWeights weights) {
    long tokens = a.x().size(0);
    MoeBackwardPlan plan = MoeBackwardPlan.of(spec, kernels.planTiles, MoeRecipe.STAGES, tokens);
    long first = 0;
    do {
      long count = Math.min(plan.tokens, tokens - first);
      MoeBackwardPlan group =
          new MoeBackwardPlan(spec, kernels.planTiles, MoeRecipe.STAGES, count, tokens);
      new Launch(context, a, weights, group, first).run();
      first += count;
    } while (first < tokens);
  }

  /** One expert or all of the routed ones: where their weights, gradients and lists lie. */
  private record Group(
      MoeBackwardPlan.Lists lists,
      ExpertWeights weights,
      int projected,
      ProjectionRows projectionGradient,
      MatrixRows downGradient,
      @Nullable Tensor savedZ,
      @Nullable Region weightSums,
      @Nullable Region slotDx) {
    int count() {
      return weights.experts();
    }

    int width() {
      return weights.width();
    }
  }

  /** A group of tokens, and what it works on. */
  private final class Launch {
    private final ComputeStream stream;
    private final MoeBackward a;
    private final BoundWeights bound;
    private final MoeWeights weights;
    private final MoeBackwardPlan plan;
    private final Scratch scratch;
    private final GroupTile tile = kernels.tile;
    private final GroupTile routerTile = kernels.routerTile;
    private final long first;
    private final boolean accumulates;
    private final Tensor x;
    private final Tensor dy;
    private final Tensor ids;
    private final Tensor routingWeights;
    private final @Nullable Region tokenCount;
    private final boolean needsDx;
    private final boolean needsDlogits;
    private final boolean needsWeightGradients;
    private final boolean needsSharedGate;

    Launch(
        LaunchContext context,
        MoeBackward a,
        BoundWeights bound,
        MoeBackwardPlan plan,
        long first) {
      stream = ComputeStream.of(context);
      this.a = a;
      this.bound = bound;
      weights = bound.tensors();
      this.plan = plan;
      this.first = first;
      accumulates = a.accumulate() || first > 0;
      scratch = Scratch.of(context);
      x = ofGroup(a.x());
      dy = ofGroup(a.dy());
      ids = ofGroup(a.saved().ids());
      routingWeights = ofGroup(a.saved().routingWeights());
      // Of a group: known after rows().
      Region counted = Region.ofNullable(a.tokenCount());
      tokenCount =
          counted == null || plan.isWhole()
              ? counted
              : requireNonNull(scratch.at(plan.allTokens)).plus(Integer.BYTES);
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

    private @Nullable Region at(long offset) {
      return scratch.at(offset);
    }

    /** The group's rows of a tensor of all tokens. */
    private Tensor ofGroup(Tensor tensor) {
      return plan.isWhole() ? tensor : tensor.slice(0, first, first + plan.tokens);
    }

    private @Nullable Tensor ofGroupOrNull(@Nullable Tensor tensor) {
      return tensor == null ? null : ofGroup(tensor);
    }

    private @Nullable Region permutation() {
      return plan.isWhole() ? Region.of(a.saved().permutation()) : at(plan.permutation);
    }

    /** Orders the group's slots as forward ordered all of them, and finds those in z. */
    private void sort() {
      if (plan.isWhole()) {
        return;
      }
      if (first == 0 && a.saved().z() != null) {
        sort.enqueue(stream, work(a.saved().ids(), plan.all, null, at(plan.zOfSlot)));
      }
      sort.enqueue(stream, work(ids, plan.tokens, permutation(), null));
    }

    private SlotSort.Work work(
        Tensor sorted, long tokens, @Nullable Region permutation, @Nullable Region inverse) {
      return new SlotSort.Work(
          Region.of(sorted),
          TensorLayout.stride(sorted, 0),
          Region.ofNullable(a.tokenCount()),
          permutation == null ? 0 : Math.toIntExact(first),
          Math.toIntExact(tokens),
          spec.topK(),
          spec.experts(),
          spec.firstExpert(),
          spec.localExperts(),
          permutation,
          permutation != null,
          inverse,
          null,
          at(plan.offsets),
          null,
          0,
          null,
          0,
          at(plan.blockCounts));
    }

    void run() {
      sort();
      ExpertWeights sharedExpert = bound.shared();
      rows();
      tiles(plan.routed, spec.localExperts());
      if (sharedExpert != null) {
        sharedRows();
        tiles(plan.shared, 1);
        experts(shared(sharedExpert), needsSharedGate);
      }
      experts(routed(), needsWeightGradients);
      downBias();
      if (needsDx || needsWeightGradients || needsSharedGate) {
        tokens();
      }
      if (needsDx) {
        dx();
      }
      routerGradients();
    }

    private Group routed() {
      DataType gradient = spec.gradientType();
      int width = spec.intermediate();
      boolean separate = spec.gateUpLayout() == GateUpLayout.SEPARATE;
      return new Group(
          plan.routed,
          bound.routed(),
          spec.projected(),
          separate
              ? new ProjectionRows(
                  WeightRows.of(a.dgate(), true), WeightRows.of(a.dup(), true), gradient, width)
              : ProjectionRows.of(spec, width, WeightRows.of(a.dgateUp(), true), gradient),
          MatrixRows.perExpert(a.ddown()),
          a.saved().z(),
          at(plan.weightSums),
          at(plan.zOrDx));
    }

    private Group shared(ExpertWeights weights) {
      return new Group(
          plan.shared,
          weights,
          spec.sharedProjected(),
          ProjectionRows.of(
              spec,
              spec.sharedIntermediate(),
              WeightRows.of(a.dsharedGateUp(), false),
              spec.gradientType()),
          MatrixRows.of(a.dsharedDown()),
          null,
          at(plan.sharedSums),
          at(plan.sharedDx));
    }

    // ---- lists

    private void rows() {
      boolean findsZ = !plan.isWhole() && a.saved().z() != null;
      MoeBackwardPlan.Lists lists = plan.routed;
      stream
          .arguments()
          .region(permutation())
          .region(Region.of(ids))
          .region(Region.of(routingWeights))
          .region(Region.ofNullable(a.tokenCount()))
          .value(TensorLayout.stride(ids, 0))
          .value(TensorLayout.stride(routingWeights, 0))
          .value(plan.tokens)
          .value(lists.rows)
          .region(at(lists.starts))
          .region(at(lists.rowTokens))
          .region(at(lists.rowWeights))
          .region(at(plan.inverse))
          .region(at(plan.allTokens))
          .region(findsZ ? at(plan.zOfSlot + first * spec.topK() * Integer.BYTES) : null)
          .region(findsZ ? at(plan.zRows) : null)
          .value(spec.topK())
          .value(spec.firstExpert())
          .value(spec.localExperts())
          .value(Math.toIntExact(first));
      stream.dispatch(kernels.rows, lists.rows / LIST_GROUP + 1, 1, 1, LIST_GROUP);
    }

    private void sharedRows() {
      if (spec.sharedGate()) {
        routing.sharedGate(
            stream,
            x,
            requireNonNull(weights.sharedGateWeight()),
            tokenCount,
            at(plan.sharedLogits));
      }
      stream
          .arguments()
          .region(spec.sharedGate() ? at(plan.sharedLogits) : null)
          .region(tokenCount)
          .value(plan.tokens)
          .region(at(plan.shared.starts))
          .region(at(plan.shared.rowTokens))
          .region(at(plan.shared.rowWeights));
      stream.dispatch(kernels.sharedRows, plan.tokens / LIST_GROUP + 1, 1, 1, LIST_GROUP);
    }

    private void tiles(MoeBackwardPlan.Lists lists, int experts) {
      stream
          .arguments()
          .region(at(lists.starts))
          .region(at(lists.experts))
          .region(at(lists.tiles))
          .region(at(lists.tileCount))
          .value(lists.rows)
          .value(lists.mostTiles)
          .value(experts)
          .value(tile.rows());
      stream.dispatch(kernels.tiles, 1, 1, 1, LIST_GROUP);
    }

    private Arguments slots(MoeBackwardPlan.Lists lists) {
      return slots(lists, at(lists.experts));
    }

    private Arguments slots(MoeBackwardPlan.Lists lists, @Nullable Region experts) {
      return stream
          .arguments()
          .region(experts)
          .region(at(lists.tiles))
          .region(at(lists.tileCount))
          .region(at(lists.rowTokens))
          .region(at(lists.rowWeights))
          .value(lists.rows);
    }

    // ---- experts

    /** All that the weights, biases and inputs of some experts get. */
    private void experts(Group e, boolean needsSums) {
      boolean needsDz =
          needsDx
              || e.projectionGradient.isPresent()
              || (e.lists == plan.routed && a.dgateUpBias() != null);
      boolean needsActivation = e.downGradient.isPresent();
      MatrixRows dz =
          MatrixRows.scratch(at(plan.dz), MoeBackwardPlan.pitch(e.projected), plan.keptType());
      MatrixRows activation =
          MatrixRows.scratch(
              at(plan.activation), MoeBackwardPlan.pitch(e.width()), plan.keptType());
      MatrixRows low =
          plan.keepsLowPart() && needsActivation
              ? MatrixRows.scratch(at(plan.activationLow), activation.pitch(), plan.keptType())
              : MatrixRows.NONE;
      if (e.lists.rows > 0 && (needsDz || needsActivation || needsSums)) {
        MatrixRows z = MatrixRows.of(e.savedZ);
        if (e.savedZ == null) {
          z = MatrixRows.scratch(at(plan.zOrDx), MoeBackwardPlan.pitch(e.projected), DataType.F32);
          project(e, z);
        }
        slotGradients(
            e,
            z,
            needsDz ? dz : MatrixRows.NONE,
            needsActivation ? activation : MatrixRows.NONE,
            low,
            needsSums ? e.weightSums : null);
      }
      if (needsDx && e.lists.rows > 0) {
        inputGradients(e, dz);
      }
      if (needsActivation) {
        downGradient(e, activation, low);
      }
      if (e.projectionGradient.isPresent()) {
        projectionGradient(e, dz);
      }
      if (e.lists == plan.routed && a.dgateUpBias() != null) {
        columnSums(
            slots(e.lists),
            dz,
            ProjectionRows.of(
                spec, spec.intermediate(), WeightRows.ofBias(a.dgateUpBias()), spec.gradientType()),
            e.count(),
            e.projected,
            false,
            false);
      }
    }

    private int columnTiles(int columns) {
      return (columns + tile.columns() - 1) / tile.columns();
    }

    private int rowTiles(int rows) {
      return (rows + tile.rows() - 1) / tile.rows();
    }

    /** Groups for every tile that lists may have, in whole groups of the raster. */
    private void dispatchSlots(ComputeKernel kernel, Group e, int columnTiles) {
      long groups = (e.lists.mostTiles + RASTER - 1) / RASTER * RASTER * columnTiles;
      stream.dispatch(kernel, groups, 1, 1, tile.groupSize());
    }

    private void project(Group e, MatrixRows z) {
      int columnTiles = columnTiles(e.projected);
      Arguments arguments = slots(e.lists);
      MatrixRows.of(x).put(arguments);
      ProjectionRows.of(e.weights).put(arguments);
      ProjectionRows.biasOf(e.weights).put(arguments);
      z.put(arguments);
      arguments.value(spec.hidden()).value(e.projected).value(columnTiles);
      dispatchSlots(kernels.project, e, columnTiles);
    }

    private void slotGradients(
        Group e,
        MatrixRows z,
        MatrixRows dz,
        MatrixRows activation,
        MatrixRows low,
        @Nullable Region sums) {
      int columnTiles = columnTiles(e.width());
      Arguments arguments = slots(e.lists);
      MatrixRows.of(dy).put(arguments);
      MatrixRows.of(e.weights.down(), e.weights.type()).put(arguments);
      z.put(arguments);
      arguments.region(!plan.isWhole() && e.savedZ != null ? at(plan.zRows) : null);
      dz.put(arguments);
      activation.put(arguments);
      low.put(arguments);
      arguments
          .region(sums)
          .value(MoeCodes.activation(spec.activation()))
          .value(spec.swigluAlpha())
          .value(spec.swigluLimit())
          .value(spec.hidden())
          .value(e.width())
          .value(spec.activation().isGated() ? 1 : 0)
          .value(columnTiles);
      dispatchSlots(kernels.slots, e, columnTiles);
    }

    private void inputGradients(Group e, MatrixRows dz) {
      int columnTiles = columnTiles(spec.hidden());
      Arguments arguments = slots(e.lists);
      dz.put(arguments);
      ProjectionRows.of(e.weights).put(arguments);
      slotDx(e.slotDx).put(arguments);
      arguments.value(spec.hidden()).value(e.projected).value(columnTiles);
      dispatchSlots(kernels.inputs, e, columnTiles);
    }

    /** A row of dx for each slot. */
    private MatrixRows slotDx(@Nullable Region place) {
      return MatrixRows.scratch(place, MoeBackwardPlan.pitch(spec.hidden()), plan.keptType());
    }

    private void downGradient(Group e, MatrixRows activation, MatrixRows low) {
      int rowTiles = rowTiles(spec.hidden());
      int columnTiles = columnTiles(e.width());
      Arguments arguments = slots(e.lists);
      MatrixRows.of(dy).put(arguments);
      activation.put(arguments);
      low.put(arguments);
      e.downGradient.put(arguments);
      arguments
          .value(spec.hidden())
          .value(e.width())
          .value(rowTiles)
          .value(columnTiles)
          .value(accumulates ? 1 : 0);
      long groups = (long) e.count() * rowTiles * columnTiles;
      stream.dispatch(kernels.downGradient, groups, 1, 1, tile.groupSize());
    }

    private void projectionGradient(Group e, MatrixRows dz) {
      int rowTiles = rowTiles(e.projected);
      int columnTiles = columnTiles(spec.hidden());
      Arguments arguments = slots(e.lists);
      dz.put(arguments);
      MatrixRows.of(x).put(arguments);
      e.projectionGradient.put(arguments);
      arguments
          .value(e.projected)
          .value(spec.hidden())
          .value(rowTiles)
          .value(columnTiles)
          .value(accumulates ? 1 : 0);
      long groups = (long) e.count() * rowTiles * columnTiles;
      stream.dispatch(kernels.projectionGradient, groups, 1, 1, tile.groupSize());
    }

    private void downBias() {
      Tensor gradient = a.ddownBias();
      if (gradient != null) {
        columnSums(
            slots(plan.routed),
            MatrixRows.of(dy),
            ProjectionRows.elements(gradient, spec.hidden()),
            spec.localExperts(),
            spec.hidden(),
            true,
            true);
      }
    }

    private void columnSums(
        Arguments arguments,
        MatrixRows values,
        ProjectionRows out,
        int experts,
        int columns,
        boolean byToken,
        boolean weighted) {
      values.put(arguments);
      out.put(arguments);
      arguments
          .value(columns)
          .value(byToken ? 1 : 0)
          .value(weighted ? 1 : 0)
          .value(accumulates ? 1 : 0);
      long groups = (columns + SUM_COLUMNS - 1L) / SUM_COLUMNS * experts;
      stream.dispatch(kernels.columnSums, groups, 1, 1, LIST_GROUP);
    }

    // ---- router

    private void tokens() {
      RouterSpec router = spec.router();
      Tensor logits = needsDlogits ? ofGroupOrNull(a.saved().logits()) : null;
      Tensor auxiliary = ofGroupOrNull(a.auxiliaryDlogits());
      Tensor dgivenWeights = ofGroupOrNull(a.dgivenWeights());
      Tensor dlogits = ofGroupOrNull(a.dlogits());
      Arguments arguments =
          stream
              .arguments()
              .region(at(plan.routed.experts))
              .value(plan.routed.rows)
              .region(permutation())
              .region(at(plan.inverse))
              .region(Region.of(ids))
              .region(Region.ofNullable(logits))
              .region(Region.ofNullable(auxiliary))
              .region(tokenCount)
              .region(at(plan.weightSums));
      MatrixRows.of(dy).put(arguments);
      MatrixRows.perExpert(needsWeightGradients ? weights.downBias() : null).put(arguments);
      arguments
          .region(Region.ofNullable(dgivenWeights))
          .region(Region.ofNullable(dlogits))
          .region(at(plan.columns))
          .region(at(plan.sharedSums))
          .region(at(plan.shared.rowWeights))
          .region(needsSharedGate ? at(plan.sharedLogits) : null)
          .value(TensorLayout.stride(ids, 0))
          .value(MoeCodes.pitch(logits))
          .value(MoeCodes.pitch(auxiliary))
          .value(MoeCodes.pitch(dgivenWeights))
          .value(MoeCodes.pitch(dlogits))
          .value(plan.columnPitch())
          .value(plan.tokens)
          .value(spec.topK())
          .value(spec.experts())
          .value(spec.firstExpert())
          .value(spec.localExperts())
          .value(needsWeightGradients ? plan.sums(spec.intermediate()) : 0)
          .value(plan.sums(spec.sharedIntermediate()))
          .value(spec.hidden())
          .value(plan.routerColumns())
          .value(MoeCodes.score(router.score()))
          .value(MoeCodes.normalize(router.normalize()))
          .value(router.epsilon())
          .value(router.scalingFactor());
      stream.dispatch(kernels.tokens, plan.tokens, 1, 1, TOKEN_GROUP);
    }

    private MatrixRows columns() {
      return MatrixRows.scratch(at(plan.columns), plan.columnPitch(), DataType.F32);
    }

    private static long cut(long elements, int size) {
      return (elements + size - 1) / size;
    }

    private void dx() {
      Arguments arguments = stream.arguments();
      columns().put(arguments);
      ProjectionRows.router(
              weights.routerWeight(),
              weights.sharedGateWeight(),
              spec.routerType(),
              plan.routerColumns())
          .put(arguments);
      arguments.region(at(plan.inverse)).region(tokenCount);
      slotDx(at(plan.zOrDx)).put(arguments);
      (bound.shared() == null ? MatrixRows.NONE : slotDx(at(plan.sharedDx))).put(arguments);
      MatrixRows.of(ofGroup(requireNonNull(a.dx()))).put(arguments);
      long columnTiles = cut(spec.hidden(), routerTile.columns());
      arguments
          .value(plan.tokens)
          .value(spec.topK())
          .value(spec.hidden())
          .value(plan.columnCount())
          .value((int) columnTiles);
      stream.dispatch(
          kernels.dx,
          cut(plan.tokens, routerTile.rows()) * columnTiles,
          1,
          1,
          routerTile.groupSize());
    }

    private void routerGradients() {
      ProjectionRows out =
          ProjectionRows.router(
              a.drouterWeight(), a.dsharedGateWeight(), spec.gradientType(), plan.routerColumns());
      if (out.isPresent()) {
        routerWeights();
        Arguments arguments = stream.arguments().region(at(plan.partial));
        out.put(arguments);
        arguments
            .value(plan.pieces())
            .value(spec.hidden())
            .value(plan.columnCount())
            .value(accumulates ? 1 : 0);
        long elements = (long) plan.columnCount() * spec.hidden();
        stream.dispatch(kernels.routerSums, cut(elements, LIST_GROUP), 1, 1, LIST_GROUP);
      }
      Tensor bias = a.drouterBias();
      if (bias != null) {
        columnSums(
            slots(plan.routed, at(plan.allTokens)),
            columns(),
            ProjectionRows.elements(bias, plan.routerColumns()),
            1,
            plan.routerColumns(),
            false,
            false);
      }
    }

    private void routerWeights() {
      long rowTiles = cut(plan.columnCount(), routerTile.rows());
      long columnTiles = cut(spec.hidden(), routerTile.columns());
      Arguments arguments = stream.arguments();
      columns().put(arguments);
      MatrixRows.of(x).put(arguments);
      arguments
          .region(tokenCount)
          .region(at(plan.partial))
          .value(plan.tokens)
          .value(spec.hidden())
          .value(plan.columnCount())
          .value((int) rowTiles)
          .value((int) columnTiles)
          .value((int) plan.piece());
      stream.dispatch(
          kernels.routerWeights,
          plan.pieces() * rowTiles * columnTiles,
          1,
          1,
          routerTile.groupSize());
    }
  }
}
