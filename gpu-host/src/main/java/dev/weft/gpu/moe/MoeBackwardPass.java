package dev.weft.gpu.moe;

import static java.util.Objects.requireNonNull;

import dev.weft.Tensor;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.RouterSpec;
import dev.weft.spi.LaunchContext;
import org.jspecify.annotations.Nullable;

/**
 * The stages of a backward pass as dispatches. The kernels say in moe/backward, moe/backward_rows
 * and moe/backward_router how they work; each method here fills the arguments of one.
 */
final class MoeBackwardPass extends MoeBackwardStages {
  private static final int LIST_GROUP = 256;
  private static final int SUM_COLUMNS = 16;
  private static final int TOKEN_GROUP = 32;

  /** Tiles of rows that share a tile of columns. */
  private static final int RASTER = 8;

  private final ComputeStream stream;
  private final MoeBackwardKernels kernels;
  private final RoutingPass routing;
  private final SlotSort sort;
  private final GroupTile tile;
  private final GroupTile routerTile;

  MoeBackwardPass(
      LaunchContext context,
      MoeDispatchSpec spec,
      MoeBackward a,
      MoeBackwardPlan plan,
      long first,
      MoeBackwardKernels kernels,
      RoutingPass routing,
      SlotSort sort) {
    super(context, spec, a, plan, first);
    stream = ComputeStream.of(context);
    this.kernels = kernels;
    this.routing = routing;
    this.sort = sort;
    tile = kernels.tile;
    routerTile = kernels.routerTile;
  }

  private static long cut(long elements, int size) {
    return (elements + size - 1) / size;
  }

  // ---- lists

  @Override
  protected void sort(
      Tensor sorted, long tokens, @Nullable Region permutation, @Nullable Region inverse) {
    sort.enqueue(
        stream,
        new SlotSort.Work(
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
            at(plan.blockCounts)));
  }

  @Override
  protected void rows() {
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
        .region(zOfSlots())
        .region(zRows())
        .value(spec.topK())
        .value(spec.firstExpert())
        .value(spec.localExperts())
        .value(Math.toIntExact(first));
    stream.dispatch(kernels.rows, lists.rows / LIST_GROUP + 1, 1, 1, LIST_GROUP);
  }

  @Override
  protected void sharedRows() {
    if (spec.sharedGate()) {
      routing.sharedGate(
          stream, x, requireNonNull(weights.sharedGateWeight()), tokenCount, at(plan.sharedLogits));
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

  @Override
  protected void tiles(MoeBackwardPlan.Lists lists, int experts) {
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

  private Arguments slots(BackwardExperts e) {
    return slots(e.lists(), at(e.lists().experts));
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

  /** Groups for every tile that lists may have, in whole groups of the raster. */
  private void dispatchSlots(ComputeKernel kernel, BackwardExperts e, int columnTiles) {
    long groups = cut(e.lists().mostTiles, RASTER) * RASTER * columnTiles;
    stream.dispatch(kernel, groups, 1, 1, tile.groupSize());
  }

  /** Whether tiles divide a product with weights, whose rows are aligned. */
  private boolean isWhole(BackwardExperts e, int columns, int depth) {
    return e.weights().isAligned() && columns % tile.columns() == 0 && depth % tile.depth() == 0;
  }

  private int columnTiles(int columns) {
    return (int) cut(columns, tile.columns());
  }

  private int rowTiles(int rows) {
    return (int) cut(rows, tile.rows());
  }

  @Override
  protected void project(BackwardExperts e, MatrixRows z) {
    int columnTiles = columnTiles(e.projected());
    Arguments arguments = slots(e);
    MatrixRows.of(x).put(arguments);
    ProjectionRows.of(e.weights()).put(arguments);
    ProjectionRows.biasOf(e.weights()).put(arguments);
    z.put(arguments);
    arguments.value(spec.hidden()).value(e.projected()).value(columnTiles);
    dispatchSlots(kernels.project, e, columnTiles);
  }

  @Override
  protected void slotGradients(
      BackwardExperts e,
      MatrixRows z,
      MatrixRows dz,
      MatrixRows activation,
      MatrixRows low,
      @Nullable Region sums) {
    int columnTiles = columnTiles(e.width());
    Arguments arguments = slots(e);
    MatrixRows.of(dy).put(arguments);
    MatrixRows.of(e.weights().down(), e.weights().type()).put(arguments);
    z.put(arguments);
    arguments.region(e.savedZ() == null ? null : zRows());
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
    boolean whole = isWhole(e, e.width(), spec.hidden()) && MatrixRows.of(dy).isWhole(plan.tokens);
    dispatchSlots(kernels.slots.of(whole), e, columnTiles);
  }

  @Override
  protected void inputGradients(BackwardExperts e, MatrixRows dz) {
    int columnTiles = columnTiles(spec.hidden());
    Arguments arguments = slots(e);
    dz.put(arguments);
    ProjectionRows.of(e.weights()).put(arguments);
    slotDx(e.slotDx()).put(arguments);
    arguments.value(spec.hidden()).value(e.projected()).value(columnTiles);
    boolean whole =
        isWhole(e, spec.hidden(), e.projected())
            && (!e.weights().isGated() || e.width() % tile.depth() == 0)
            && dz.isWhole(e.lists().rows);
    dispatchSlots(kernels.inputs.of(whole), e, columnTiles);
  }

  @Override
  protected void downGradient(BackwardExperts e, MatrixRows activation, MatrixRows low) {
    Arguments arguments = slots(e);
    MatrixRows.of(dy).put(arguments);
    activation.put(arguments);
    low.put(arguments);
    e.downGradient().put(arguments);
    boolean whole =
        isWhole(e, e.width(), 0)
            && spec.hidden() % tile.rows() == 0
            && MatrixRows.of(dy).isWhole(plan.tokens)
            && activation.isWhole(e.lists().rows);
    dispatchWeights(kernels.downGradient.of(whole), arguments, e.count(), spec.hidden(), e.width());
  }

  @Override
  protected void projectionGradient(BackwardExperts e, MatrixRows dz) {
    Arguments arguments = slots(e);
    dz.put(arguments);
    MatrixRows.of(x).put(arguments);
    e.projectionGradient().put(arguments);
    boolean whole =
        isWhole(e, spec.hidden(), 0)
            && e.width() % tile.rows() == 0
            && MatrixRows.of(x).isWhole(plan.tokens)
            && dz.isWhole(e.lists().rows);
    dispatchWeights(
        kernels.projectionGradient.of(whole), arguments, e.count(), e.projected(), spec.hidden());
  }

  /** A group for each tile of the gradients of experts' weights. */
  private void dispatchWeights(
      ComputeKernel kernel, Arguments arguments, int experts, int rows, int columns) {
    int rowTiles = rowTiles(rows);
    int columnTiles = columnTiles(columns);
    arguments
        .value(rows)
        .value(columns)
        .value(rowTiles)
        .value(columnTiles)
        .value(accumulates ? 1 : 0);
    stream.dispatch(kernel, (long) experts * rowTiles * columnTiles, 1, 1, tile.groupSize());
  }

  @Override
  protected void columnSums(ColumnSums sums) {
    Arguments arguments = slots(plan.routed, sums.experts());
    sums.values().put(arguments);
    sums.out().put(arguments);
    arguments
        .value(sums.columns())
        .value(sums.byToken() ? 1 : 0)
        .value(sums.weighted() ? 1 : 0)
        .value(accumulates ? 1 : 0);
    long groups = cut(sums.columns(), SUM_COLUMNS) * sums.count();
    stream.dispatch(kernels.columnSums, groups, 1, 1, LIST_GROUP);
  }

  // ---- router

  @Override
  protected void tokens() {
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

  @Override
  protected void dx(MatrixRows out) {
    Arguments arguments = stream.arguments();
    columns().put(arguments);
    routerRows().put(arguments);
    arguments.region(at(plan.inverse)).region(tokenCount);
    slotDx(plan.zOrDx).put(arguments);
    sharedDx().put(arguments);
    out.put(arguments);
    long columnTiles = cut(spec.hidden(), routerTile.columns());
    arguments
        .value(plan.tokens)
        .value(spec.topK())
        .value(spec.hidden())
        .value(plan.columnCount())
        .value((int) columnTiles);
    long groups = cut(plan.tokens, routerTile.rows()) * columnTiles;
    stream.dispatch(kernels.dx, groups, 1, 1, routerTile.groupSize());
  }

  @Override
  protected void routerWeights() {
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
    long groups = plan.pieces() * rowTiles * columnTiles;
    stream.dispatch(kernels.routerWeights, groups, 1, 1, routerTile.groupSize());
  }

  @Override
  protected void routerSums(ProjectionRows out) {
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
}
