package dev.weft.gpu.moe;

import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.moe.MoeDispatchSpec;
import org.jspecify.annotations.Nullable;

/** The kernels of a backward pass. */
final class MoeBackwardKernels {
  private static final String PREFIX = "moe_backward_";

  /** Of the products of experts. */
  final GroupTile tile;

  /** Of the router's. */
  final GroupTile routerTile;

  final MoeBackwardPlan.Tiles planTiles;
  final ComputeKernel project;
  final Product slots;
  final Product inputs;
  final Product downGradient;
  final Product projectionGradient;
  final ComputeKernel rows;
  final ComputeKernel sharedRows;
  final ComputeKernel tiles;
  final ComputeKernel columnSums;
  final ComputeKernel tokens;
  final ComputeKernel dx;
  final ComputeKernel routerWeights;
  final ComputeKernel routerSums;

  /**
   * A product of experts.
   *
   * @param general for operands of any kind
   * @param whole for those that are aligned and made of whole tiles; null where the other does
   */
  record Product(ComputeKernel general, @Nullable ComputeKernel whole) {
    ComputeKernel of(boolean isWhole) {
      return isWhole && whole != null ? whole : general;
    }
  }

  MoeBackwardKernels(ComputeDevice device, MoeDispatchSpec spec) {
    routerTile = GroupTile.plain(device.traits()).getLast();
    tile = tile(device.traits(), spec);
    planTiles = tiles(device.traits(), spec);
    KernelName products = tile.kernel("moe/backward", PREFIX + "project");
    project = device.kernel(products);
    slots = product(device, products.function(PREFIX + "slots"));
    inputs = product(device, products.function(PREFIX + "inputs"));
    downGradient = product(device, products.function(PREFIX + "down_gradient"));
    projectionGradient = product(device, products.function(PREFIX + "projection_gradient"));
    KernelName lists = KernelName.of("moe/backward_rows", PREFIX + "rows");
    rows = device.kernel(lists);
    sharedRows = device.kernel(lists.function(PREFIX + "shared_rows"));
    tiles = device.kernel(lists.function(PREFIX + "tiles"));
    columnSums = device.kernel(lists.function(PREFIX + "column_sums"));
    KernelName router = routerTile.kernel("moe/backward_router", PREFIX + "tokens");
    tokens = device.kernel(router);
    dx = device.kernel(router.function(PREFIX + "dx"));
    routerWeights = device.kernel(router.function(PREFIX + "router_weights"));
    routerSums = device.kernel(router.function(PREFIX + "router_sums"));
  }

  private Product product(ComputeDevice device, KernelName name) {
    return new Product(
        device.kernel(name), tile.hasFormForWhole() ? device.kernel(name.with("WHOLE", 1)) : null);
  }

  private static GroupTile tile(ComputeTraits traits, MoeDispatchSpec spec) {
    return GroupTile.of(spec.dataType(), spec.weightType(), traits).getLast();
  }

  /** What the plan of a backward pass depends on. */
  static MoeBackwardPlan.Tiles tiles(ComputeTraits traits, MoeDispatchSpec spec) {
    GroupTile tile = tile(traits, spec);
    return new MoeBackwardPlan.Tiles(tile.rows(), tile.columns(), tile.multipliesOnMatrixUnits());
  }
}
