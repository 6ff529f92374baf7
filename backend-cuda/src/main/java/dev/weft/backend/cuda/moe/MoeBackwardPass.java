package dev.weft.backend.cuda.moe;

import static java.util.Objects.requireNonNull;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaMemory;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.gpu.moe.MoeBackwardPlan;
import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec;
import dev.weft.spi.LaunchContext;
import org.jspecify.annotations.Nullable;

/**
 * Enqueues backward passes: the shared expert's stages, those of the routed experts, then the
 * router's. At most 23 launches, each of which is left out where nothing asks for it, for each
 * group of tokens, and three more for the order of a group's slots where there are several; see
 * MoeBackwardPlan. The kernels say in backward.cuh, moe_backward_rows.cu and moe_backward_router.cu
 * how they work; each method here fills the arguments of one.
 */
final class MoeBackwardPass {
  private static final int TILE_THREADS = 256;
  private static final int LIST_THREADS = 256;
  private static final int SUM_THREADS = 1024;
  private static final int SUM_COLUMNS = 32;
  private static final int TOKEN_THREADS = 128;
  private static final int WARP = 32;

  /** Tiles of rows that share a tile of columns, as RowTile of backward.cuh has it. */
  private static final int RASTER_GROUP = 8;

  private final MoeDispatchSpec spec;
  private final MoeBackwardKernels kernels;
  private final SlotSort sort;

  /** Finds the kernels that the spec's backward passes need. */
  MoeBackwardPass(CudaDevice device, MoeDispatchSpec spec) {
    this.spec = spec;
    kernels = new MoeBackwardKernels(device, spec);
    sort = new SlotSort(device);
  }

  /** The scratch memory of a launch. */
  static long workspaceBytes(MoeDispatchSpec spec, long tokens) {
    return MoeBackwardPlan.bytes(
        spec, MoeBackwardKernels.planTiles(spec), SlotSort::blockCountBytes, tokens);
  }

  /**
   * Enqueues a pass.
   *
   * @param context stream and scratch
   * @param a the tensors
   * @param weights as they were bound
   */
  void run(LaunchContext context, MoeBackward a, MoeBoundWeights weights) {
    long tokens = a.x().size(0);
    MoeBackwardPlan.Tiles tiles = MoeBackwardKernels.planTiles(spec);
    MoeBackwardPlan plan = MoeBackwardPlan.of(spec, tiles, SlotSort::blockCountBytes, tokens);
    long first = 0;
    do {
      long count = Math.min(plan.tokens, tokens - first);
      MoeBackwardPlan group =
          new MoeBackwardPlan(spec, tiles, SlotSort::blockCountBytes, count, tokens);
      new Launch(context, a, weights, group, first).run();
      first += count;
    } while (first < tokens);
  }

  /** One expert or all of the routed ones: where their weights, gradients and lists lie. */
  private record Experts(
      MoeBackwardPlan.Lists lists,
      ExpertWeights weights,
      int projected,
      BackwardProjection projectionGradient,
      BackwardMatrix downGradient,
      @Nullable Tensor savedZ,
      long weightSums,
      long slotDx) {
    int count() {
      return weights.experts();
    }

    int width() {
      return weights.width();
    }

    /** Slots of an expert, on average. */
    long slotsPerExpert() {
      return lists.rows / Math.max(1, Math.min(lists.rows, weights.experts()));
    }
  }

  /** A group of tokens, and what it works on. */
  private final class Launch {
    private final CudaStream stream;
    private final MoeBackward a;
    private final long first;
    private final boolean accumulates;
    private final Tensor x;
    private final Tensor dy;
    private final Tensor ids;
    private final Tensor routingWeights;
    private final MoeBoundWeights bound;
    private final MoeWeights weights;
    private final MoeBackwardPlan plan;
    private final long scratch;
    private final boolean needsDx;
    private final boolean needsDlogits;
    private final boolean needsWeightGradients;
    private final boolean needsSharedGate;

    Launch(
        LaunchContext context,
        MoeBackward a,
        MoeBoundWeights bound,
        MoeBackwardPlan plan,
        long first) {
      stream = (CudaStream) context.stream();
      this.a = a;
      this.bound = bound;
      this.plan = plan;
      this.first = first;
      accumulates = a.accumulate() || first > 0;
      weights = bound.tensors();
      x = ofGroup(a.x());
      dy = ofGroup(a.dy());
      ids = ofGroup(a.saved().ids());
      routingWeights = ofGroup(a.saved().routingWeights());
      scratch =
          context.workspace() == null
              ? 0
              : ((CudaMemory) context.workspace()).address() + context.workspaceOffset();
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

    private long at(long offset) {
      return scratch + offset;
    }

    /** The group's rows of a tensor of all tokens. */
    private Tensor ofGroup(Tensor tensor) {
      return plan.isWhole() ? tensor : tensor.slice(0, first, first + plan.tokens);
    }

    private @Nullable Tensor ofGroupOrNull(@Nullable Tensor tensor) {
      return tensor == null ? null : ofGroup(tensor);
    }

    /** How many of the group's tokens there are, on the device; 0: all. Known after rows(). */
    private long tokenCount() {
      boolean counted = a.tokenCount() != null;
      return counted && !plan.isWhole()
          ? at(plan.allTokens) + Integer.BYTES
          : TensorArguments.address(a.tokenCount());
    }

    private long permutation() {
      return plan.isWhole()
          ? TensorArguments.address(a.saved().permutation())
          : at(plan.permutation);
    }

    /** Orders the group's slots as forward ordered all of them, and finds those in z. */
    private void sort() {
      if (plan.isWhole()) {
        return;
      }
      if (first == 0 && a.saved().z() != null) {
        Tensor all = a.saved().ids();
        sort.enqueue(stream, work(all, plan.all, 0, at(plan.zOfSlot)));
      }
      sort.enqueue(stream, work(ids, plan.tokens, permutation(), 0));
    }

    private SlotSort.Work work(Tensor sorted, long tokens, long permutation, long inverse) {
      return new SlotSort.Work(
          TensorArguments.address(sorted),
          TensorArguments.stride(sorted, 0),
          TensorArguments.address(a.tokenCount()),
          permutation == 0 ? 0 : Math.toIntExact(first),
          Math.toIntExact(tokens),
          spec.topK(),
          spec.experts(),
          spec.firstExpert(),
          spec.localExperts(),
          permutation,
          permutation != 0,
          inverse,
          0,
          at(plan.offsets),
          0,
          0,
          0,
          0,
          at(plan.blockCounts),
          0);
    }

    void run() {
      ExpertWeights sharedExpert = bound.shared();
      sort();
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

    private Experts routed() {
      DataType gradient = spec.gradientType();
      int width = spec.intermediate();
      boolean separate = spec.gateUpLayout() == GateUpLayout.SEPARATE;
      return new Experts(
          plan.routed,
          bound.routed(),
          spec.projected(),
          separate
              ? new BackwardProjection(
                  WeightRows.of(a.dgate(), true), WeightRows.of(a.dup(), true), gradient, width)
              : BackwardProjection.of(spec, width, WeightRows.of(a.dgateUp(), true), gradient),
          BackwardMatrix.perExpert(a.ddown()),
          a.saved().z(),
          at(plan.weightSums),
          at(plan.zOrDx));
    }

    private Experts shared(ExpertWeights weights) {
      return new Experts(
          plan.shared,
          weights,
          spec.sharedProjected(),
          BackwardProjection.of(
              spec,
              spec.sharedIntermediate(),
              WeightRows.of(a.dsharedGateUp(), false),
              spec.gradientType()),
          BackwardMatrix.of(a.dsharedDown()),
          null,
          at(plan.sharedSums),
          at(plan.sharedDx));
    }

    // ---- lists

    private void rows() {
      boolean findsZ = !plan.isWhole() && a.saved().z() != null;
      MoeBackwardPlan.Lists lists = plan.routed;
      stream
          .parameters()
          .put(permutation())
          .put(TensorArguments.address(ids))
          .put(TensorArguments.address(routingWeights))
          .put(TensorArguments.address(a.tokenCount()))
          .put(TensorArguments.stride(ids, 0))
          .put(TensorArguments.stride(routingWeights, 0))
          .put(plan.tokens)
          .put(lists.rows)
          .put(at(lists.starts))
          .put(at(lists.rowTokens))
          .put(at(lists.rowWeights))
          .put(at(plan.inverse))
          .put(at(plan.allTokens))
          .put(findsZ ? at(plan.zOfSlot) + first * spec.topK() * Integer.BYTES : 0L)
          .put(findsZ ? at(plan.zRows) : 0L)
          .put(spec.topK())
          .put(spec.firstExpert())
          .put(spec.localExperts())
          .put(Math.toIntExact(first));
      stream.launch(kernels.rows, lists.rows / LIST_THREADS + 1, 1, LIST_THREADS);
    }

    private void sharedRows() {
      ParameterBlock block = stream.parameters();
      BackwardMatrix.of(x).put(block);
      BackwardMatrix.of(weights.sharedGateWeight()).put(block);
      block
          .put(tokenCount())
          .put(plan.tokens)
          .put(at(plan.shared.starts))
          .put(at(plan.shared.rowTokens))
          .put(at(plan.shared.rowWeights))
          .put(at(plan.sharedLogits))
          .put(spec.hidden())
          .put(0);
      stream.launch(kernels.sharedRows, plan.tokens * WARP / LIST_THREADS + 1, 1, LIST_THREADS);
    }

    private void tiles(MoeBackwardPlan.Lists lists, int experts) {
      stream
          .parameters()
          .put(at(lists.starts))
          .put(at(lists.experts))
          .put(at(lists.tiles))
          .put(at(lists.tileCount))
          .put(lists.rows)
          .put(lists.mostTiles)
          .put(experts)
          .put(0);
      stream.launch(kernels.tiles, 1, 1, SUM_THREADS);
    }

    private ParameterBlock slots(MoeBackwardPlan.Lists lists) {
      return slots(lists, at(lists.experts));
    }

    private ParameterBlock slots(MoeBackwardPlan.Lists lists, long experts) {
      return stream
          .parameters()
          .put(experts)
          .put(at(lists.tiles))
          .put(at(lists.tileCount))
          .put(at(lists.rowTokens))
          .put(at(lists.rowWeights))
          .put(lists.rows);
    }

    // ---- experts

    /** All that the weights, biases and inputs of some experts get. */
    private void experts(Experts e, boolean needsSums) {
      boolean needsDz =
          needsDx
              || e.projectionGradient.isPresent()
              || (e.lists == plan.routed && a.dgateUpBias() != null);
      boolean needsActivation = e.downGradient.address() != 0;
      BackwardMatrix dz =
          BackwardMatrix.scratch(at(plan.dz), MoeBackwardPlan.pitch(e.projected), plan.keptType());
      BackwardMatrix activation =
          BackwardMatrix.scratch(
              at(plan.activation), MoeBackwardPlan.pitch(e.width()), plan.keptType());
      BackwardMatrix low =
          plan.keepsLowPart() && needsActivation
              ? BackwardMatrix.scratch(at(plan.activationLow), activation.pitch(), plan.keptType())
              : BackwardMatrix.NONE;
      if (e.lists.rows > 0 && (needsDz || needsActivation || needsSums)) {
        BackwardMatrix z = BackwardMatrix.of(e.savedZ);
        if (e.savedZ == null) {
          z =
              BackwardMatrix.scratch(
                  at(plan.zOrDx), MoeBackwardPlan.pitch(e.projected), DataType.F32);
          project(e, z);
        }
        slotGradients(
            e,
            z,
            needsDz ? dz : BackwardMatrix.NONE,
            needsActivation ? activation : BackwardMatrix.NONE,
            low,
            needsSums ? e.weightSums : 0);
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
            BackwardProjection.of(
                spec,
                spec.intermediate(),
                ExpertWeights.bias(a.dgateUpBias()),
                spec.gradientType()),
            e.count(),
            e.projected,
            false,
            false);
      }
    }

    private void launchTiles(KernelFunction kernel, long blocks, int sharedBytes) {
      if (blocks > 0) {
        stream.launch(kernel, LaunchShape.of(blocks, 1, TILE_THREADS).withShared(sharedBytes));
      }
    }

    private static int columnTiles(MoeBackwardKernels.Tile tile, int columns) {
      return (columns + tile.columns() - 1) / tile.columns();
    }

    /** Blocks for every tile that lists may have, in whole groups of the raster. */
    private static long rowTileBlocks(Experts e, long columnTiles) {
      return (e.lists.mostTiles + RASTER_GROUP - 1) / RASTER_GROUP * RASTER_GROUP * columnTiles;
    }

    private void project(Experts e, BackwardMatrix z) {
      MoeBackwardKernels.Tiled tiled = kernels.forSlots();
      int columnTiles = columnTiles(tiled.tile(), e.projected);
      ParameterBlock block = slots(e.lists);
      BackwardMatrix.of(x).put(block);
      BackwardProjection.of(e.weights).put(block);
      BackwardProjection.biasOf(e.weights).put(block);
      z.put(block);
      block.put(spec.hidden()).put(e.projected).put(columnTiles).put(0);
      launchTiles(tiled.project(), rowTileBlocks(e, columnTiles), tiled.tile().sharedBytes());
    }

    private void slotGradients(
        Experts e,
        BackwardMatrix z,
        BackwardMatrix dz,
        BackwardMatrix activation,
        BackwardMatrix low,
        long sums) {
      MoeBackwardKernels.Tiled tiled = kernels.forSlots();
      int columnTiles = columnTiles(tiled.tile(), e.width());
      ParameterBlock block = slots(e.lists);
      BackwardMatrix.of(dy).put(block);
      BackwardMatrix.of(e.weights.down(), e.weights.type()).put(block);
      z.put(block);
      dz.put(block);
      activation.put(block);
      low.put(block);
      block
          .put(sums)
          .put(!plan.isWhole() && e.savedZ != null ? at(plan.zRows) : 0L)
          .put(GenericExperts.activation(spec.activation()))
          .put(spec.swigluAlpha())
          .put(spec.swigluLimit())
          .put(0)
          .put(spec.hidden())
          .put(e.width())
          .put(spec.activation().isGated() ? 1 : 0)
          .put(columnTiles)
          .put((int) MoeBackwardKernels.tiles(e.width()))
          .put(0);
      launchTiles(tiled.slots(), rowTileBlocks(e, columnTiles), tiled.tile().sharedBytes());
    }

    private void inputGradients(Experts e, BackwardMatrix dz) {
      MoeBackwardKernels.Tiled tiled = kernels.forSlots();
      int columnTiles = columnTiles(tiled.tile(), spec.hidden());
      ParameterBlock block = slots(e.lists);
      dz.put(block);
      BackwardProjection.of(e.weights).put(block);
      slotDx(e.slotDx).put(block);
      block.put(spec.hidden()).put(e.projected).put(columnTiles).put(0);
      launchTiles(tiled.inputs(), rowTileBlocks(e, columnTiles), tiled.tile().sharedBytes());
    }

    /** A row of dx for each slot. */
    private BackwardMatrix slotDx(long address) {
      return BackwardMatrix.scratch(address, MoeBackwardPlan.pitch(spec.hidden()), plan.keptType());
    }

    private void downGradient(Experts e, BackwardMatrix activation, BackwardMatrix low) {
      MoeBackwardKernels.Tiled tiled = kernels.forWeights(e.slotsPerExpert());
      int rowTiles = (int) MoeBackwardKernels.tiles(spec.hidden());
      int columnTiles = columnTiles(tiled.tile(), e.width());
      ParameterBlock block = slots(e.lists);
      BackwardMatrix.of(dy).put(block);
      activation.put(block);
      low.put(block);
      e.downGradient.put(block);
      block
          .put(spec.hidden())
          .put(e.width())
          .put(rowTiles)
          .put(columnTiles)
          .put(accumulates ? 1 : 0)
          .put(0);
      launchTiles(
          tiled.downGradient(),
          (long) e.count() * rowTiles * columnTiles,
          tiled.tile().sharedBytes());
    }

    private void projectionGradient(Experts e, BackwardMatrix dz) {
      MoeBackwardKernels.Tiled tiled = kernels.forWeights(e.slotsPerExpert());
      int rowTiles = (int) MoeBackwardKernels.tiles(e.projected);
      int columnTiles = columnTiles(tiled.tile(), spec.hidden());
      ParameterBlock block = slots(e.lists);
      dz.put(block);
      BackwardMatrix.of(x).put(block);
      e.projectionGradient.put(block);
      block
          .put(e.projected)
          .put(spec.hidden())
          .put(rowTiles)
          .put(columnTiles)
          .put(accumulates ? 1 : 0)
          .put(0);
      launchTiles(
          tiled.projectionGradient(),
          (long) e.count() * rowTiles * columnTiles,
          tiled.tile().sharedBytes());
    }

    private void downBias() {
      Tensor gradient = a.ddownBias();
      if (gradient != null) {
        columnSums(
            slots(plan.routed),
            BackwardMatrix.of(dy),
            elements(gradient, spec.hidden()),
            spec.localExperts(),
            spec.hidden(),
            true,
            true);
      }
    }

    /** Elements of a gradient [experts, n], or [n]. */
    private static BackwardProjection elements(Tensor gradient, int columns) {
      long stride = gradient.rank() == 2 ? TensorArguments.stride(gradient, 0) : 0;
      return new BackwardProjection(
          new WeightRows(TensorArguments.address(gradient), stride, 1),
          WeightRows.NONE,
          gradient.dataType(),
          columns);
    }

    private void columnSums(
        ParameterBlock block,
        BackwardMatrix values,
        BackwardProjection out,
        int experts,
        int columns,
        boolean byToken,
        boolean weighted) {
      values.put(block);
      out.put(block);
      block.put(columns).put(byToken ? 1 : 0).put(weighted ? 1 : 0).put(accumulates ? 1 : 0);
      long blocks = (columns + SUM_COLUMNS - 1L) / SUM_COLUMNS * experts;
      stream.launch(kernels.columnSums, blocks, 1, SUM_THREADS);
    }

    // ---- router

    private void tokens() {
      if (plan.tokens == 0) {
        return;
      }
      RouterSpec router = spec.router();
      Tensor logits = needsDlogits ? ofGroupOrNull(a.saved().logits()) : null;
      Tensor auxiliary = ofGroupOrNull(a.auxiliaryDlogits());
      Tensor dgivenWeights = ofGroupOrNull(a.dgivenWeights());
      Tensor dlogits = ofGroupOrNull(a.dlogits());
      ParameterBlock block = slots(plan.routed);
      block
          .put(permutation())
          .put(at(plan.inverse))
          .put(TensorArguments.address(ids))
          .put(TensorArguments.address(logits))
          .put(TensorArguments.address(auxiliary))
          .put(tokenCount())
          .put(at(plan.weightSums));
      BackwardMatrix.of(dy).put(block);
      BackwardMatrix.perExpert(needsWeightGradients ? weights.downBias() : null).put(block);
      block
          .put(at(plan.dweights))
          .put(at(plan.dscores))
          .put(TensorArguments.address(dgivenWeights))
          .put(TensorArguments.address(dlogits))
          .put(at(plan.columns))
          .put(at(plan.sharedSums))
          .put(at(plan.shared.rowWeights))
          .put(needsSharedGate ? at(plan.sharedLogits) : 0L)
          .put(TensorArguments.stride(ids, 0))
          .put(pitch(logits))
          .put(pitch(auxiliary))
          .put(pitch(dgivenWeights))
          .put(pitch(dlogits))
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
          .put(RoutingPass.score(router.score()))
          .put(RoutingPass.normalize(router.normalize()))
          .put(router.epsilon())
          .put(router.scalingFactor());
      stream.launch(
          kernels.tokens,
          (plan.tokens * WARP + TOKEN_THREADS - 1) / TOKEN_THREADS,
          1,
          TOKEN_THREADS);
    }

    private static long pitch(@Nullable Tensor tensor) {
      return tensor == null ? 0 : TensorArguments.stride(tensor, 0);
    }

    private BackwardMatrix columns() {
      return BackwardMatrix.scratch(at(plan.columns), plan.columnPitch(), DataType.F32);
    }

    private void dx() {
      Tensor dx = ofGroup(requireNonNull(a.dx()));
      int columnTiles = (int) MoeBackwardKernels.tiles(spec.hidden());
      ParameterBlock block = stream.parameters();
      columns().put(block);
      BackwardProjection.router(
              weights.routerWeight(),
              weights.sharedGateWeight(),
              spec.routerType(),
              plan.routerColumns())
          .put(block);
      block.put(at(plan.inverse)).put(tokenCount());
      slotDx(at(plan.zOrDx)).put(block);
      (bound.shared() == null ? BackwardMatrix.NONE : slotDx(at(plan.sharedDx))).put(block);
      BackwardMatrix.of(dx).put(block);
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

    private void routerGradients() {
      BackwardProjection out =
          BackwardProjection.router(
              a.drouterWeight(), a.dsharedGateWeight(), spec.gradientType(), plan.routerColumns());
      if (out.isPresent()) {
        routerWeights();
        ParameterBlock block = stream.parameters().put(at(plan.partial));
        out.put(block);
        block
            .put(plan.pieces())
            .put(spec.hidden())
            .put(plan.columnCount())
            .put(accumulates ? 1 : 0)
            .put(0);
        long elements = (long) plan.columnCount() * spec.hidden();
        stream.launch(
            kernels.routerSums, (elements + TOKEN_THREADS - 1) / TOKEN_THREADS, 1, TOKEN_THREADS);
      }
      Tensor bias = a.drouterBias();
      if (bias != null) {
        columnSums(
            slots(plan.routed, at(plan.allTokens)),
            columns(),
            elements(bias, plan.routerColumns()),
            1,
            plan.routerColumns(),
            false,
            false);
      }
    }

    private void routerWeights() {
      int rowTiles = (int) MoeBackwardKernels.tiles(plan.columnCount());
      int columnTiles = (int) MoeBackwardKernels.tiles(spec.hidden());
      ParameterBlock block = stream.parameters();
      columns().put(block);
      BackwardMatrix.of(x).put(block);
      block
          .put(tokenCount())
          .put(at(plan.partial))
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
  }
}
