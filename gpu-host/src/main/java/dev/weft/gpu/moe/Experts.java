package dev.weft.gpu.moe;

import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.TensorLayout;
import dev.weft.moe.MoeDispatchSpec;
import java.util.ArrayList;
import java.util.List;

/** The two products of each expert; moe/experts says how. */
final class Experts {
  /** The most parts that a second product is summed in. */
  static final int MOST_PARTS = 8;

  /** Rows beyond which it is summed in one. */
  static final int MOST_ROWS_OF_PARTS = 64;

  /** The least depth of a part. */
  private static final int LEAST_DEPTH = 256;

  /** Groups that a computing unit should have to choose from. */
  private static final int GROUPS_OF_UNIT = 4;

  private final MoeDispatchSpec spec;
  private final ComputeTraits traits;
  private final List<Variant> variants = new ArrayList<>();

  /** A compiled tile. */
  record Variant(GroupTile tile, ComputeKernel project, ComputeKernel down) {}

  Experts(ComputeDevice device, MoeDispatchSpec spec) {
    this.spec = spec;
    traits = device.traits();
    List<GroupTile> tiles = GroupTile.of(spec.dataType(), spec.weightType(), traits);
    List<KernelName> names = new ArrayList<>();
    for (GroupTile tile : tiles) {
      names.add(tile.kernel("moe/experts", "moe_project"));
      names.add(tile.kernel("moe/experts", "moe_down"));
    }
    List<ComputeKernel> kernels = device.kernels(names);
    for (int i = 0; i < tiles.size(); i++) {
      variants.add(new Variant(tiles.get(i), kernels.get(2 * i), kernels.get(2 * i + 1)));
    }
  }

  /** The tile for so many rows of so many experts: not much higher than an expert's rows. */
  Variant choose(long rows, int experts) {
    long rowsPerExpert = rows / Math.max(1, Math.min(rows, experts));
    Variant chosen = variants.getFirst();
    for (Variant variant : variants) {
      if (3L * chosen.tile.rows() < 4 * rowsPerExpert) {
        chosen = variant; // else many experts would have a second tile
      }
    }
    return chosen;
  }

  /** In how many parts the second product is summed, so that few rows occupy the whole device. */
  int parts(long rows, int experts, int width) {
    if (rows > MOST_ROWS_OF_PARTS || traits.isCpu()) {
      return 1;
    }
    int columns = choose(rows, experts).tile.columns();
    long groups = Math.max(1, Math.min(rows, experts)) * ((spec.hidden() + columns - 1) / columns);
    long wanted = (long) GROUPS_OF_UNIT * traits.computeUnits() / groups;
    return (int) Math.max(1, Math.min(Math.min(wanted, MOST_PARTS), width / LEAST_DEPTH));
  }

  void project(ComputeStream stream, Variant variant, ExpertWork work) {
    ExpertWeights weights = work.weights();
    int mostTiles = work.rows().mostTiles(weights.experts(), variant.tile.rows());
    Arguments arguments =
        stream
            .arguments()
            .region(work.x())
            .region(work.act())
            .region(work.z())
            .region(work.zRows())
            .region(work.rows().permutation())
            .region(work.rows().tiles())
            .region(work.tokenCount());
    weights.gate().put(arguments);
    weights.up().put(arguments);
    weights.gateBias().put(arguments);
    weights.upBias().put(arguments);
    arguments
        .value(work.xPitch())
        .value(work.actPitch())
        .value(work.zPitch())
        .value(work.firstToken())
        .value(work.tokens())
        .value(work.topK())
        .value(weights.hidden())
        .value(weights.width())
        .value(TensorLayout.typeCode(spec.dataType()))
        .value(TensorLayout.typeCode(weights.type()))
        .value(MoeCodes.activation(spec.activation()))
        .value(spec.swigluAlpha())
        .value(spec.swigluLimit())
        .value(mostTiles);
    int columns = weights.isGated() ? variant.tile.columns() / 2 : variant.tile.columns();
    dispatch(stream, variant.project, variant.tile, mostTiles, columns, weights.width(), 1);
  }

  void down(ComputeStream stream, Variant variant, ExpertWork work) {
    ExpertWeights weights = work.weights();
    int mostTiles = work.rows().mostTiles(weights.experts(), variant.tile.rows());
    Arguments arguments =
        stream
            .arguments()
            .region(work.act())
            .region(work.out())
            .region(work.rows().permutation())
            .region(work.rows().tiles())
            .region(work.tokenCount());
    weights.down().put(arguments);
    weights.downBias().put(arguments);
    int depth = variant.tile.depth();
    int partDepth =
        ((weights.width() + work.parts() - 1) / work.parts() + depth - 1) / depth * depth;
    arguments
        .value(work.actPitch())
        .value(work.outPitch())
        .value(work.slots() * work.outPitch())
        .value(partDepth)
        .value(work.firstToken())
        .value(work.tokens())
        .value(weights.hidden())
        .value(weights.width())
        .value(TensorLayout.typeCode(spec.dataType()))
        .value(TensorLayout.typeCode(work.outType(spec.dataType())))
        .value(TensorLayout.typeCode(weights.type()))
        .value(mostTiles);
    dispatch(
        stream,
        variant.down,
        variant.tile,
        mostTiles,
        variant.tile.columns(),
        weights.hidden(),
        work.parts());
  }

  private static void dispatch(
      ComputeStream stream,
      ComputeKernel kernel,
      GroupTile tile,
      int mostTiles,
      int tileColumns,
      int columns,
      int parts) {
    long groups = (long) mostTiles * ((columns + tileColumns - 1) / tileColumns);
    stream.dispatch(kernel, groups, parts, 1, tile.groupSize());
  }
}
