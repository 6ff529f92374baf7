package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.driver.TensorMaps;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.gpu.moe.ExpertWeights;
import dev.weft.gpu.moe.MoeCodes;
import dev.weft.gpu.moe.WeightRows;
import dev.weft.moe.MoeDispatchSpec;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.EnumMap;
import java.util.Map;
import java.util.Optional;

/**
 * Experts on Hopper, of one 16-bit type throughout, with rows at multiples of 16 bytes; the kernels
 * are those of sm_90a/expert_gemm.cuh. They find their work from the experts' offsets: no tile
 * lists.
 */
final class HopperExperts implements ExpertKernels {
  /** Copies the tokens' rows into sorted order. */
  static final String SORT_ROWS = "moe_hopper_sort_rows";

  /** Rows of gate and of up that alternate in a tile of both. */
  private static final int ALTERNATING = 8;

  private static final int SLAB = 64; // columns of a copy: 128 bytes
  private static final int THREADS = 384;
  private static final int SORT_THREADS = 256;
  private static final int SORT_BLOCKS = 8; // of a multiprocessor: all of its threads
  private static final int NO_ACTIVATION = -1;
  private static final int VECTOR = 8; // elements of 16 bytes

  /** Items are counted in 32 bits. */
  private static final long MOST_COUNTED = Integer.MAX_VALUE / 2;

  /** Weights that are read before it matters what others wrote into the L2; measured. */
  private static final long FEW_BYTES = 350L << 20;

  /** Rows of x are gathered by 32-bit numbers of 16 bytes. */
  private static final long MOST_X_BYTES = 1L << 35;

  private final int multiprocessors;
  private final TensorMaps maps;
  private final TensorMaps.Element element;
  private final Map<HopperTile, Loaded> loaded;
  private final KernelFunction sortRows;

  /**
   * gated: the first projection of gated experts, or both; product: one projection without gate.
   */
  private record Loaded(KernelFunction gated, KernelFunction product) {}

  /** What distinguishes the two projections for a kernel. */
  private record Product(
      MemorySegment weights,
      MemorySegment upWeights,
      long tokens,
      long tokenPitch,
      long tokenRows,
      long source,
      long target,
      long out,
      long outPitch,
      int depth,
      int width,
      int weightTiles,
      WeightRows firstBias,
      WeightRows secondBias,
      int activation,
      boolean upFirst,
      boolean overlapped) {}

  private HopperExperts(
      CudaDevice device,
      TensorMaps maps,
      DataType type,
      Map<HopperTile, Loaded> loaded,
      KernelFunction sortRows) {
    this.multiprocessors = device.descriptor().computeUnits();
    this.maps = maps;
    this.element = type == DataType.F16 ? TensorMaps.Element.F16 : TensorMaps.Element.BF16;
    this.loaded = loaded;
    this.sortRows = sortRows;
  }

  /** Finds the kernels; nothing where the device or the types have none. */
  static Optional<HopperExperts> find(CudaDevice device, MoeDispatchSpec spec) {
    DataType type = spec.dataType();
    Optional<TensorMaps> maps = device.tensorMaps();
    Optional<KernelFunction> sortRows = device.findKernel(SORT_ROWS);
    if (type != spec.weightType()
        || type == DataType.F32
        || spec.localExperts() > HopperTile.MOST_EXPERTS
        || maps.isEmpty()
        || sortRows.isEmpty()) {
      return Optional.empty();
    }
    Map<HopperTile, Loaded> loaded = new EnumMap<>(HopperTile.class);
    for (HopperTile tile : HopperTile.values()) {
      Optional<KernelFunction> gated = device.findKernel(tile.gated(type));
      Optional<KernelFunction> product = device.findKernel(tile.down(type));
      if (gated.isEmpty() || product.isEmpty()) {
        return Optional.empty();
      }
      loaded.put(tile, new Loaded(gated.get(), product.get()));
    }
    return Optional.of(new HopperExperts(device, maps.get(), type, loaded, sortRows.get()));
  }

  @Override
  public Optional<Tiling> tiling(ExpertShape shape) {
    ExpertWeights weights = shape.weights();
    boolean takes =
        !shape.savesZ()
            && shape.xAligned()
            && shape.xBytes() <= MOST_X_BYTES
            && weights.projectAligned()
            && weights.downAligned()
            && weights.hidden() % VECTOR == 0
            && weights.width() % VECTOR == 0
            && alternates(weights);
    return takes ? Optional.of(new Tiling(0, 0)) : Optional.empty();
  }

  /** Whether one tensor map reaches gate and up: the same steps from different starts. */
  private static boolean alternates(ExpertWeights weights) {
    WeightRows gate = weights.gate();
    WeightRows up = weights.up();
    return !weights.isGated()
        || (gate.rowStride() == up.rowStride()
            && gate.expertStride() == up.expertStride()
            && RowStructures.address(gate) != RowStructures.address(up)
            && Math.abs(RowStructures.address(gate) - RowStructures.address(up)) < 1L << 40);
  }

  @Override
  public void enqueue(CudaStream stream, ExpertWork work, Tiling tiling) {
    ExpertWeights weights = work.weights();
    HopperTile tile =
        HopperTile.of(
            work.rows().mostRows(),
            weights.experts(),
            weights.hidden(),
            weights.width(),
            multiprocessors);
    try (Arena arena = Arena.ofConfined()) {
      if (tile.isStreaming() && weights.isGated()) {
        both(stream, work, tile, arena);
      } else {
        oneByOne(stream, work, tile, arena);
      }
    }
  }

  private Product project(ExpertWork work, HopperTile tile, Arena arena, boolean sorted) {
    ExpertWeights weights = work.weights();
    boolean gated = weights.isGated();
    MemorySegment up =
        map(
            arena,
            tile,
            weights.up(),
            weights.hidden(),
            weights.width(),
            weights.experts(),
            gated ? tile.weightRows() / 2 : tile.weightRows());
    return new Product(
        gated ? gate(arena, work, tile) : up,
        up,
        sorted ? work.out() : work.x(),
        sorted ? work.outPitch() : work.xPitch(),
        sorted ? work.rows().mostRows() : work.tokens(),
        sorted ? 0 : work.rows().permutation(),
        0,
        work.act(),
        work.actPitch(),
        weights.hidden(),
        weights.width(),
        tile.weightTiles(weights.width(), gated),
        gated ? weights.gateBias() : weights.upBias(),
        gated ? weights.upBias() : WeightRows.NONE,
        MoeCodes.activation(work.spec().activation()),
        gated && RowStructures.address(weights.up()) < RowStructures.address(weights.gate()),
        false);
  }

  private Product down(ExpertWork work, HopperTile tile, Arena arena, int copyRows) {
    ExpertWeights weights = work.weights();
    MemorySegment map =
        map(
            arena,
            tile,
            weights.down(),
            weights.width(),
            weights.hidden(),
            weights.experts(),
            copyRows);
    return new Product(
        map,
        map,
        work.act(),
        work.actPitch(),
        work.rows().mostRows(),
        0,
        work.rows().permutation(),
        work.out(),
        work.outPitch(),
        weights.width(),
        weights.hidden(),
        tile.weightTiles(weights.hidden(), false),
        weights.downBias(),
        WeightRows.NONE,
        NO_ACTIVATION,
        false,
        true);
  }

  private Loaded kernels(HopperTile tile) {
    Loaded found = loaded.get(tile);
    if (found == null) {
      throw new IllegalStateException("no kernels for " + tile); // all were found together
    }
    return found;
  }

  /** Into the memory of the second projection's result, which is not there yet. */
  private void sortRows(CudaStream stream, ExpertWork work) {
    stream
        .parameters()
        .put(work.x())
        .put(work.out())
        .put(work.rows().permutation())
        .put(work.rows().offsets())
        .put(work.xPitch())
        .put(work.outPitch())
        .put(work.weights().experts())
        .put(work.topK())
        .put(work.weights().hidden())
        .put(0);
    long blocks = Math.min(work.rows().mostRows(), (long) SORT_BLOCKS * multiprocessors);
    stream.launch(sortRows, LaunchShape.of(blocks, 1, SORT_THREADS));
  }

  /** A launch for each projection. */
  private void oneByOne(CudaStream stream, ExpertWork work, HopperTile tile, Arena arena) {
    Loaded kernels = kernels(tile);
    boolean gated = work.weights().isGated();
    // The kernel of one product never gathers.
    boolean sorted = !work.isShared() && (tile.isDense() || !gated);
    if (sorted) {
      sortRows(stream, work);
    }
    Product project = project(work, tile, arena, sorted);
    one(stream, gated ? kernels.gated : kernels.product, work, tile, arena, project);
    Product down = down(work, tile, arena, tile.weightRows());
    one(stream, kernels.product, work, tile, arena, down);
  }

  /** A launch of one projection. */
  private void one(
      CudaStream stream,
      KernelFunction kernel,
      ExpertWork work,
      HopperTile tile,
      Arena arena,
      Product p) {
    MemorySegment tokens =
        maps.encode(
            arena,
            element,
            tile.fetch(),
            p.tokens,
            new long[] {p.depth, p.tokenRows},
            new long[] {p.tokenPitch * element.bytes()},
            new int[] {SLAB, tile.tokenBox()});
    long items = work.rows().mostTiles(work.weights().experts(), tile.tokens()) * p.weightTiles;
    boolean counted = tile.itemsOfBlock() == 0 && items <= MOST_COUNTED;
    long counter = !counted ? 0 : p.overlapped ? work.downCounter() : work.projectCounter();
    long stride = Math.min(items, multiprocessors);
    int itemsOfBlock = tile.itemsOfBlock() == 0 ? Integer.MAX_VALUE : tile.itemsOfBlock();
    long blocks = stride * ((items - 1) / (stride * itemsOfBlock) + 1);
    put(stream.parameters(), work, p, tokens, counter, 0)
        .put((int) stride)
        .put(itemsOfBlock)
        .put(p.overlapped ? 1 : 0);
    launch(stream, kernel, blocks, tile.sharedBytes(work.weights().experts()));
  }

  /** A launch of both projections; expert_stream.cuh. */
  private void both(CudaStream stream, ExpertWork work, HopperTile tile, Arena arena) {
    int experts = work.weights().experts();
    Product project = project(work, tile, arena, false);
    Product down = down(work, tile, arena, tile.copiedDownRows());
    long items =
        work.rows().mostTiles(experts, tile.tokens()) * (project.weightTiles + down.weightTiles);
    if (items > MOST_COUNTED) {
      throw new IllegalArgumentException(items + " tiles of weights in one launch");
    }
    int slots = work.slots();
    boolean counts = slots > 0 && slots <= SlotSort.MOST_OF_ONE_BLOCK;
    ParameterBlock block =
        stream
            .parameters()
            .put(counts ? work.ids() : 0)
            .put(work.doneCounters())
            .put(work.idPitch())
            .put(slots)
            .put(work.spec().firstExpert())
            .put(mostRead(work) <= FEW_BYTES ? 1 : 0);
    MemorySegment none = arena.allocate(TensorMaps.MAP_BYTES);
    put(block, work, project, none, work.projectCounter(), counts ? tile.stages() : 0);
    put(block, work, down, none, 0, 0);
    launch(
        stream,
        kernels(tile).gated,
        Math.min(items, multiprocessors),
        tile.sharedBytesOfBoth(experts));
  }

  /** The most weights of gated experts that can be touched, in bytes. */
  private long mostRead(ExpertWork work) {
    ExpertWeights weights = work.weights();
    long touched = Math.min(work.rows().mostRows(), weights.experts());
    return touched * 3 * weights.hidden() * weights.width() * element.bytes();
  }

  private static void launch(CudaStream stream, KernelFunction kernel, long blocks, int shared) {
    stream.launch(
        kernel, LaunchShape.of(blocks, 1, THREADS).withShared(shared).overlappingPredecessor());
  }

  /** What Arguments of expert_gemm.cuh begins with. */
  private static ParameterBlock put(
      ParameterBlock block,
      ExpertWork work,
      Product p,
      MemorySegment tokens,
      long counter,
      int askedSteps) {
    block
        .put(p.weights)
        .put(p.upWeights)
        .put(tokens)
        .put(p.tokens)
        .put(p.out)
        .put(p.source)
        .put(p.target)
        .put(work.rows().offsets())
        .put(work.tokenCount())
        .put(counter);
    RowStructures.put(block, p.firstBias);
    RowStructures.put(block, p.secondBias);
    return block
        .put(p.tokenPitch)
        .put(p.outPitch)
        .put(work.firstToken())
        .put(work.tokens())
        .put(work.weights().experts())
        .put(work.topK())
        .put(p.depth)
        .put(p.width)
        .put(p.weightTiles)
        .put(p.activation)
        .put(p.upFirst ? 1 : 0)
        .put(work.spec().swigluAlpha())
        .put(work.spec().swigluLimit())
        .put(askedSteps);
  }

  /** The gate's rows, or where the tile has them alternate, those of both. */
  private MemorySegment gate(Arena arena, ExpertWork work, HopperTile tile) {
    ExpertWeights weights = work.weights();
    WeightRows gate = weights.gate();
    if (tile.isPaired()) {
      return map(
          arena,
          tile,
          gate,
          weights.hidden(),
          weights.width(),
          weights.experts(),
          tile.weightRows() / 2);
    }
    // Dimensions: K, 8 rows, gate and up (whichever lies first), groups of 8 rows, expert.
    long row = (long) element.bytes() * gate.rowStride();
    long apart = Math.abs(RowStructures.address(gate) - RowStructures.address(weights.up()));
    return maps.encode(
        arena,
        element,
        tile.fetch(),
        Math.min(RowStructures.address(gate), RowStructures.address(weights.up())),
        new long[] {
          weights.hidden(), ALTERNATING, 2, weights.width() / ALTERNATING, weights.experts()
        },
        new long[] {row, apart, ALTERNATING * row, expertStep(gate, 2L * weights.width())},
        new int[] {SLAB, ALTERNATING, 2, tile.weightRows() / (2 * ALTERNATING), 1});
  }

  /** Dimensions: K, rows, expert. */
  private MemorySegment map(
      Arena arena,
      HopperTile tile,
      WeightRows rows,
      int depth,
      int count,
      int experts,
      int copyRows) {
    return maps.encode(
        arena,
        element,
        tile.fetch(),
        RowStructures.address(rows),
        new long[] {depth, count, experts},
        new long[] {element.bytes() * rows.rowStride(), expertStep(rows, count)},
        new int[] {SLAB, copyRows, 1});
  }

  /** A single expert has no step; a map wants one. */
  private long expertStep(WeightRows rows, long count) {
    long step = rows.expertStride() == 0 ? rows.rowStride() * count : rows.expertStride();
    return element.bytes() * step;
  }
}
