package dev.weft.backend.cuda.moe;

import static dev.weft.backend.cuda.moe.RowStructures.put;

import dev.weft.Tensor;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import dev.weft.gpu.moe.BackwardExperts;
import dev.weft.gpu.moe.MatrixRows;
import dev.weft.gpu.moe.MoeBackwardPlan;
import dev.weft.gpu.moe.MoeBackwardStages;
import dev.weft.gpu.moe.MoeCodes;
import dev.weft.gpu.moe.ProjectionRows;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.RouterSpec;
import dev.weft.spi.LaunchContext;
import org.jspecify.annotations.Nullable;

/**
 * The stages of a backward pass as launches. The kernels say in backward.cuh, moe_backward_rows.cu
 * and moe_backward_router.cu how they work; each method here fills the arguments of one.
 */
final class MoeBackwardPass extends MoeBackwardStages {
  private static final int TILE_THREADS = 256;
  private static final int LIST_THREADS = 256;
  private static final int SUM_THREADS = 1024;
  private static final int SUM_COLUMNS = 32;
  private static final int TOKEN_THREADS = 128;
  private static final int WARP = 32;

  /** Tiles of rows that share a tile of columns, as RowTile of backward.cuh has it. */
  private static final int RASTER_GROUP = 8;

  private final CudaStream stream;
  private final MoeBackwardKernels kernels;
  private final SlotSort sort;

  MoeBackwardPass(
      LaunchContext context,
      MoeDispatchSpec spec,
      MoeBackward a,
      MoeBackwardPlan plan,
      long first,
      MoeBackwardKernels kernels,
      SlotSort sort) {
    super(context, spec, a, plan, first);
    stream = (CudaStream) context.stream();
    this.kernels = kernels;
    this.sort = sort;
  }

  /** The device address of a place in scratch memory, by the plan's offset. */
  private long address(long offset) {
    return TensorArguments.address(at(offset));
  }

  // ---- lists

  @Override
  protected void sort(
      Tensor sorted, long tokens, @Nullable Region permutation, @Nullable Region inverse) {
    sort.enqueue(
        stream,
        new SlotSort.Work(
            TensorArguments.address(sorted),
            TensorLayout.stride(sorted, 0),
            TensorArguments.address(a.tokenCount()),
            permutation == null ? 0 : Math.toIntExact(first),
            Math.toIntExact(tokens),
            spec.topK(),
            spec.experts(),
            spec.firstExpert(),
            spec.localExperts(),
            TensorArguments.address(permutation),
            permutation != null,
            TensorArguments.address(inverse),
            0,
            address(plan.offsets),
            0,
            0,
            0,
            0,
            address(plan.blockCounts),
            0,
            0));
  }

  @Override
  protected void rows() {
    MoeBackwardPlan.Lists lists = plan.routed;
    stream
        .parameters()
        .put(TensorArguments.address(permutation()))
        .put(TensorArguments.address(ids))
        .put(TensorArguments.address(routingWeights))
        .put(TensorArguments.address(a.tokenCount()))
        .put(TensorLayout.stride(ids, 0))
        .put(TensorLayout.stride(routingWeights, 0))
        .put(plan.tokens)
        .put(lists.rows)
        .put(address(lists.starts))
        .put(address(lists.rowTokens))
        .put(address(lists.rowWeights))
        .put(address(plan.inverse))
        .put(address(plan.allTokens))
        .put(TensorArguments.address(zOfSlots()))
        .put(TensorArguments.address(zRows()))
        .put(spec.topK())
        .put(spec.firstExpert())
        .put(spec.localExperts())
        .put(Math.toIntExact(first));
    stream.launch(kernels.rows, lists.rows / LIST_THREADS + 1, 1, LIST_THREADS);
  }

  @Override
  protected void sharedRows() {
    ParameterBlock block = stream.parameters();
    put(block, MatrixRows.of(x));
    put(block, MatrixRows.of(weights.sharedGateWeight()));
    block
        .put(TensorArguments.address(tokenCount))
        .put(plan.tokens)
        .put(address(plan.shared.starts))
        .put(address(plan.shared.rowTokens))
        .put(address(plan.shared.rowWeights))
        .put(address(plan.sharedLogits))
        .put(spec.hidden())
        .put(0);
    stream.launch(kernels.sharedRows, plan.tokens * WARP / LIST_THREADS + 1, 1, LIST_THREADS);
  }

  @Override
  protected void tiles(MoeBackwardPlan.Lists lists, int experts) {
    stream
        .parameters()
        .put(address(lists.starts))
        .put(address(lists.experts))
        .put(address(lists.tiles))
        .put(address(lists.tileCount))
        .put(lists.rows)
        .put(lists.mostTiles)
        .put(experts)
        .put(0);
    stream.launch(kernels.tiles, 1, 1, SUM_THREADS);
  }

  private ParameterBlock slots(BackwardExperts e) {
    return slots(e.lists(), at(e.lists().experts));
  }

  private ParameterBlock slots(MoeBackwardPlan.Lists lists, @Nullable Region experts) {
    return stream
        .parameters()
        .put(TensorArguments.address(experts))
        .put(address(lists.tiles))
        .put(address(lists.tileCount))
        .put(address(lists.rowTokens))
        .put(address(lists.rowWeights))
        .put(lists.rows);
  }

  // ---- experts

  private void launchTiles(KernelFunction kernel, long blocks, int sharedBytes) {
    if (blocks > 0) {
      stream.launch(kernel, LaunchShape.of(blocks, 1, TILE_THREADS).withShared(sharedBytes));
    }
  }

  /** Blocks for every tile that lists may have, in whole groups of the raster. */
  private void launchSlots(
      KernelFunction kernel, MoeBackwardKernels.Tile tile, BackwardExperts e, int columnTiles) {
    long rowTiles = (e.lists().mostTiles + RASTER_GROUP - 1) / RASTER_GROUP * RASTER_GROUP;
    launchTiles(kernel, rowTiles * columnTiles, tile.sharedBytes());
  }

  private static int columnTiles(MoeBackwardKernels.Tile tile, int columns) {
    return (columns + tile.columns() - 1) / tile.columns();
  }

  @Override
  protected void project(BackwardExperts e, MatrixRows z) {
    MoeBackwardKernels.Tiled tiled = kernels.forSlots();
    int columnTiles = columnTiles(tiled.tile(), e.projected());
    ParameterBlock block = slots(e);
    put(block, MatrixRows.of(x));
    put(block, ProjectionRows.of(e.weights()));
    put(block, ProjectionRows.biasOf(e.weights()));
    put(block, z);
    block.put(spec.hidden()).put(e.projected()).put(columnTiles).put(0);
    launchSlots(tiled.project(), tiled.tile(), e, columnTiles);
  }

  @Override
  protected void slotGradients(
      BackwardExperts e,
      MatrixRows z,
      MatrixRows dz,
      MatrixRows activation,
      MatrixRows low,
      @Nullable Region sums) {
    MoeBackwardKernels.Tiled tiled = kernels.forSlots();
    int columnTiles = columnTiles(tiled.tile(), e.width());
    ParameterBlock block = slots(e);
    put(block, MatrixRows.of(dy));
    put(block, MatrixRows.of(e.weights().down(), e.weights().type()));
    put(block, z);
    put(block, dz);
    put(block, activation);
    put(block, low);
    block
        .put(TensorArguments.address(sums))
        .put(TensorArguments.address(e.savedZ() == null ? null : zRows()))
        .put(MoeCodes.activation(spec.activation()))
        .put(spec.swigluAlpha())
        .put(spec.swigluLimit())
        .put(0)
        .put(spec.hidden())
        .put(e.width())
        .put(spec.activation().isGated() ? 1 : 0)
        .put(columnTiles)
        .put((int) MoeBackwardKernels.tiles(e.width()))
        .put(0);
    launchSlots(tiled.slots(), tiled.tile(), e, columnTiles);
  }

  @Override
  protected void inputGradients(BackwardExperts e, MatrixRows dz) {
    MoeBackwardKernels.Tiled tiled = kernels.forSlots();
    int columnTiles = columnTiles(tiled.tile(), spec.hidden());
    ParameterBlock block = slots(e);
    put(block, dz);
    put(block, ProjectionRows.of(e.weights()));
    put(block, slotDx(e.slotDx()));
    block.put(spec.hidden()).put(e.projected()).put(columnTiles).put(0);
    launchSlots(tiled.inputs(), tiled.tile(), e, columnTiles);
  }

  @Override
  protected void downGradient(BackwardExperts e, MatrixRows activation, MatrixRows low) {
    MoeBackwardKernels.Tiled tiled = kernels.forWeights(e.slotsPerExpert());
    ParameterBlock block = slots(e);
    put(block, MatrixRows.of(dy));
    put(block, activation);
    put(block, low);
    put(block, e.downGradient());
    launchWeights(tiled.downGradient(), tiled.tile(), block, e.count(), spec.hidden(), e.width());
  }

  @Override
  protected void projectionGradient(BackwardExperts e, MatrixRows dz) {
    MoeBackwardKernels.Tiled tiled = kernels.forWeights(e.slotsPerExpert());
    ParameterBlock block = slots(e);
    put(block, dz);
    put(block, MatrixRows.of(x));
    put(block, e.projectionGradient());
    launchWeights(
        tiled.projectionGradient(), tiled.tile(), block, e.count(), e.projected(), spec.hidden());
  }

  /** A block for each tile of the gradients of experts' weights. */
  private void launchWeights(
      KernelFunction kernel,
      MoeBackwardKernels.Tile tile,
      ParameterBlock block,
      int experts,
      int rows,
      int columns) {
    int rowTiles = (int) MoeBackwardKernels.tiles(rows);
    int columnTiles = columnTiles(tile, columns);
    block.put(rows).put(columns).put(rowTiles).put(columnTiles).put(accumulates ? 1 : 0).put(0);
    launchTiles(kernel, (long) experts * rowTiles * columnTiles, tile.sharedBytes());
  }

  @Override
  protected void columnSums(ColumnSums sums) {
    ParameterBlock block = slots(plan.routed, sums.experts());
    put(block, sums.values());
    put(block, sums.out());
    block
        .put(sums.columns())
        .put(sums.byToken() ? 1 : 0)
        .put(sums.weighted() ? 1 : 0)
        .put(accumulates ? 1 : 0);
    long blocks = (sums.columns() + SUM_COLUMNS - 1L) / SUM_COLUMNS * sums.count();
    stream.launch(kernels.columnSums, blocks, 1, SUM_THREADS);
  }

  // ---- router

  @Override
  protected void tokens() {
    if (plan.tokens == 0) {
      return;
    }
    RouterSpec router = spec.router();
    Tensor logits = needsDlogits ? ofGroupOrNull(a.saved().logits()) : null;
    Tensor auxiliary = ofGroupOrNull(a.auxiliaryDlogits());
    Tensor dgivenWeights = ofGroupOrNull(a.dgivenWeights());
    Tensor dlogits = ofGroupOrNull(a.dlogits());
    ParameterBlock block = slots(plan.routed, at(plan.routed.experts));
    block
        .put(TensorArguments.address(permutation()))
        .put(address(plan.inverse))
        .put(TensorArguments.address(ids))
        .put(TensorArguments.address(logits))
        .put(TensorArguments.address(auxiliary))
        .put(TensorArguments.address(tokenCount))
        .put(address(plan.weightSums));
    put(block, MatrixRows.of(dy));
    put(block, MatrixRows.perExpert(needsWeightGradients ? weights.downBias() : null));
    block
        .put(address(plan.dweights))
        .put(address(plan.dscores))
        .put(TensorArguments.address(dgivenWeights))
        .put(TensorArguments.address(dlogits))
        .put(address(plan.columns))
        .put(address(plan.sharedSums))
        .put(address(plan.shared.rowWeights))
        .put(needsSharedGate ? address(plan.sharedLogits) : 0L)
        .put(TensorLayout.stride(ids, 0))
        .put(MoeCodes.pitch(logits))
        .put(MoeCodes.pitch(auxiliary))
        .put(MoeCodes.pitch(dgivenWeights))
        .put(MoeCodes.pitch(dlogits))
        .put(plan.columnPitch())
        .put(plan.tokens)
        .put(spec.topK())
        .put(spec.experts())
        .put(spec.firstExpert())
        .put(spec.localExperts())
        .put(needsWeightGradients ? (int) MoeBackwardKernels.tiles(spec.intermediate()) : 0)
        .put((int) MoeBackwardKernels.tiles(spec.sharedIntermediate()))
        .put(spec.hidden())
        .put(plan.routerColumns())
        .put(MoeCodes.score(router.score()))
        .put(MoeCodes.normalize(router.normalize()))
        .put(router.epsilon())
        .put(router.scalingFactor());
    long blocks = (plan.tokens * WARP + TOKEN_THREADS - 1) / TOKEN_THREADS;
    stream.launch(kernels.tokens, blocks, 1, TOKEN_THREADS);
  }

  @Override
  protected void dx(MatrixRows out) {
    int columnTiles = (int) MoeBackwardKernels.tiles(spec.hidden());
    ParameterBlock block = stream.parameters();
    put(block, columns());
    put(block, routerRows());
    block.put(address(plan.inverse)).put(TensorArguments.address(tokenCount));
    put(block, slotDx(plan.zOrDx));
    put(block, sharedDx());
    put(block, out);
    block
        .put(plan.tokens)
        .put(spec.topK())
        .put(spec.hidden())
        .put(plan.columnCount())
        .put(columnTiles);
    launchTiles(
        kernels.dx,
        MoeBackwardKernels.tiles(plan.tokens) * columnTiles,
        MoeBackwardKernels.FLOAT_TILE_BYTES);
  }

  @Override
  protected void routerWeights() {
    int rowTiles = (int) MoeBackwardKernels.tiles(plan.columnCount());
    int columnTiles = (int) MoeBackwardKernels.tiles(spec.hidden());
    ParameterBlock block = stream.parameters();
    put(block, columns());
    put(block, MatrixRows.of(x));
    block
        .put(TensorArguments.address(tokenCount))
        .put(address(plan.partial))
        .put(plan.tokens)
        .put(spec.hidden())
        .put(plan.columnCount())
        .put(rowTiles)
        .put(columnTiles)
        .put((int) plan.piece())
        .put(0);
    launchTiles(
        kernels.routerWeights,
        plan.pieces() * rowTiles * columnTiles,
        MoeBackwardKernels.FLOAT_TILE_BYTES);
  }

  @Override
  protected void routerSums(ProjectionRows out) {
    ParameterBlock block = stream.parameters().put(address(plan.partial));
    put(block, out);
    block
        .put(plan.pieces())
        .put(spec.hidden())
        .put(plan.columnCount())
        .put(accumulates ? 1 : 0)
        .put(0);
    long elements = (long) plan.columnCount() * spec.hidden();
    long blocks = (elements + TOKEN_THREADS - 1) / TOKEN_THREADS;
    stream.launch(kernels.routerSums, blocks, 1, TOKEN_THREADS);
  }
}
