package dev.weft.backend.cuda.moe;

import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.gpu.moe.MoeBackwardPlan;
import dev.weft.moe.MoeDispatchSpec;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** The kernels of a backward pass. */
final class MoeBackwardKernels {
  /** Rows of a tile, and columns of a sum, as backward_tile.cuh has them. */
  static final int TILE = 128;

  /** Dynamic shared memory of the router's tiles. */
  static final int FLOAT_TILE_BYTES = 69_632;

  static final String PREFIX = "moe_backward_";

  /** Of each of these there is one for every kind of tile. */
  static final List<String> TILED =
      List.of("project", "slots", "inputs", "down_gradient", "projection_gradient");

  /**
   * A kind of tile, of which there are several: backward_tile.cuh and its sister in sm_90a.
   *
   * @param suffix of the kernels' names
   * @param columns of a tile
   * @param sharedBytes dynamic shared memory of a block
   */
  record Tile(String suffix, int columns, int sharedBytes) {}

  /** F32 products, for all types. */
  static final Tile FLOAT = new Tile("any", 128, FLOAT_TILE_BYTES);

  /** Tensor cores: two equal types of 16 bits, named by the suffix. */
  static Tile tensor(String type) {
    return new Tile(type, 128, 98_304);
  }

  /** The same on Hopper. */
  static Tile warpgroup(String type) {
    return new Tile(type + "_hopper", 256, 196_608);
  }

  /** All kinds. */
  static final List<Tile> TILES =
      List.of(FLOAT, tensor("bf16"), tensor("f16"), warpgroup("bf16"), warpgroup("f16"));

  static final List<String> OTHERS =
      List.of(
          "rows",
          "shared_rows",
          "tiles",
          "column_sums",
          "tokens",
          "dx",
          "router_weights",
          "router_sums");

  /** The five kernels of a kind of tile. */
  record Tiled(
      Tile tile,
      KernelFunction project,
      KernelFunction slots,
      KernelFunction inputs,
      KernelFunction downGradient,
      KernelFunction projectionGradient) {
    static Tiled of(CudaDevice device, Tile tile) {
      String end = "_" + tile.suffix;
      return new Tiled(
          tile,
          device.kernel(PREFIX + "project" + end),
          device.kernel(PREFIX + "slots" + end),
          device.kernel(PREFIX + "inputs" + end),
          device.kernel(PREFIX + "down_gradient" + end),
          device.kernel(PREFIX + "projection_gradient" + end));
    }
  }

  /**
   * Slots of an expert, on average, from which on Hopper's tiles are faster for the gradients of
   * weights: below, two smaller blocks on a multiprocessor overlap one's stores and the other's
   * products.
   */
  private static final long LEAST_WIDE_SLOTS = 384;

  private final Tiled general;
  private final @Nullable Tiled hopper;
  final KernelFunction rows;
  final KernelFunction sharedRows;
  final KernelFunction tiles;
  final KernelFunction columnSums;
  final KernelFunction tokens;
  final KernelFunction dx;
  final KernelFunction routerWeights;
  final KernelFunction routerSums;

  MoeBackwardKernels(CudaDevice device, MoeDispatchSpec spec) {
    String type = spec.dataType().text();
    boolean tensorCores = onTensorCores(spec);
    general = Tiled.of(device, tensorCores ? tensor(type) : FLOAT);
    Tile wide = warpgroup(type);
    hopper =
        tensorCores && device.findKernel(PREFIX + "project_" + wide.suffix).isPresent()
            ? Tiled.of(device, wide)
            : null;
    rows = device.kernel(PREFIX + "rows");
    sharedRows = device.kernel(PREFIX + "shared_rows");
    tiles = device.kernel(PREFIX + "tiles");
    columnSums = device.kernel(PREFIX + "column_sums");
    tokens = device.kernel(PREFIX + "tokens");
    dx = device.kernel(PREFIX + "dx");
    routerWeights = device.kernel(PREFIX + "router_weights");
    routerSums = device.kernel(PREFIX + "router_sums");
  }

  /** Whether products of experts run on tensor cores: two equal types of 16 bits. */
  static boolean onTensorCores(MoeDispatchSpec spec) {
    return spec.dataType() == spec.weightType() && spec.dataType().bytes() == 2;
  }

  /** What the plan of a backward pass depends on. */
  static MoeBackwardPlan.Tiles planTiles(MoeDispatchSpec spec) {
    return new MoeBackwardPlan.Tiles(TILE, TILE, onTensorCores(spec));
  }

  static long tiles(long elements) {
    return (elements + TILE - 1) / TILE;
  }

  /** For the products whose rows are slots. */
  Tiled forSlots() {
    return hopper == null ? general : hopper;
  }

  /** For the gradients of weights, of experts with so many slots on average. */
  Tiled forWeights(long slots) {
    return hopper == null || slots < LEAST_WIDE_SLOTS ? general : hopper;
  }

  /** Every kernel that there is. */
  static Stream<String> names() {
    return Stream.concat(
            TILED.stream().flatMap(name -> TILES.stream().map(tile -> name + "_" + tile.suffix)),
            OTHERS.stream())
        .map(name -> PREFIX + name);
  }
}
