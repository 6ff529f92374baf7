package dev.weft.backend.cuda.moe;

import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.moe.MoeDispatchSpec;
import java.util.List;
import java.util.stream.Stream;

/** The kernels of a backward pass. */
final class MoeBackwardKernels {
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

  final KernelFunction project;
  final KernelFunction slots;
  final KernelFunction inputs;
  final KernelFunction downGradient;
  final KernelFunction projectionGradient;
  final KernelFunction rows;
  final KernelFunction sharedRows;
  final KernelFunction tiles;
  final KernelFunction columnSums;
  final KernelFunction tokens;
  final KernelFunction dx;
  final KernelFunction routerWeights;
  final KernelFunction routerSums;

  /** The tile of the first five. */
  final Tile tile;

  MoeBackwardKernels(CudaDevice device, MoeDispatchSpec spec) {
    tile = choose(device, spec);
    String kind = tile.suffix;
    project = device.kernel(PREFIX + "project_" + kind);
    slots = device.kernel(PREFIX + "slots_" + kind);
    inputs = device.kernel(PREFIX + "inputs_" + kind);
    downGradient = device.kernel(PREFIX + "down_gradient_" + kind);
    projectionGradient = device.kernel(PREFIX + "projection_gradient_" + kind);
    rows = device.kernel(PREFIX + "rows");
    sharedRows = device.kernel(PREFIX + "shared_rows");
    tiles = device.kernel(PREFIX + "tiles");
    columnSums = device.kernel(PREFIX + "column_sums");
    tokens = device.kernel(PREFIX + "tokens");
    dx = device.kernel(PREFIX + "dx");
    routerWeights = device.kernel(PREFIX + "router_weights");
    routerSums = device.kernel(PREFIX + "router_sums");
  }

  private static Tile choose(CudaDevice device, MoeDispatchSpec spec) {
    if (!MoeBackwardPlan.onTensorCores(spec)) {
      return FLOAT;
    }
    Tile hopper = warpgroup(spec.dataType().text());
    boolean isHopper =
        device.findKernel(PREFIX + TILED.getFirst() + "_" + hopper.suffix).isPresent();
    return isHopper ? hopper : tensor(spec.dataType().text());
  }

  /** Every kernel that there is. */
  static Stream<String> names() {
    return Stream.concat(
            TILED.stream().flatMap(name -> TILES.stream().map(tile -> name + "_" + tile.suffix)),
            OTHERS.stream())
        .map(name -> PREFIX + name);
  }
}
