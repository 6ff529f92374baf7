package dev.weft.gpu.moe;

import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.TensorLayout;
import dev.weft.moe.MoeDispatchSpec;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import org.jspecify.annotations.Nullable;

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

  /** As moe/few_rows has them. */
  private static final int FEW_ROWS = 16;

  /** Rows of weights of a group of moe/few_rows and of moe/slots, and its work-items. */
  static final int FEW_COLUMNS = 32;

  static final int FEW_GROUP = 128;

  /** Rows, in all or of an expert, beyond which cooperative matrices do better with tiles. */
  private static final int MOST_ROWS_OF_COOPERATIVE = 32;

  private static final int MOST_ROWS_OF_AN_EXPERT = 4;

  /** Kernels for whole tiles count chunks of 16 bytes of a row's place in 32 bits. */
  private static final long MOST_ELEMENTS_OF_WHOLE = 8L << 32;

  private static final String SOURCE = "moe/experts";

  private final MoeDispatchSpec spec;
  private final ComputeTraits traits;
  private final boolean hasRowsInQuads;
  private final List<Variant> variants = new ArrayList<>();

  /**
   * A compiled tile.
   *
   * @param projectFew where this is the tile of the fewest rows, on units that stream: moe/few_rows
   * @param downFew the same for the second product
   * @param projectWhole where all is aligned and made of whole tiles: moe/experts, WHOLE
   * @param downWhole the same for the second product
   */
  record Variant(
      GroupTile tile,
      ComputeKernel project,
      ComputeKernel down,
      @Nullable ComputeKernel projectFew,
      @Nullable ComputeKernel downFew,
      @Nullable ComputeKernel projectWhole,
      @Nullable ComputeKernel downWhole) {}

  Experts(ComputeDevice device, MoeDispatchSpec spec) {
    this.spec = spec;
    traits = device.traits();
    hasRowsInQuads = device.hasRowsInQuads();
    List<GroupTile> tiles = GroupTile.of(spec.dataType(), spec.weightType(), traits);
    List<KernelName> names = new ArrayList<>();
    for (GroupTile tile : tiles) {
      KernelName project = tile.kernel(SOURCE, "moe_project");
      names.add(project);
      names.add(project.function("moe_down"));
      if (streams(tile)) {
        names.add(project.function("moe_project_few"));
        names.add(project.function("moe_down_few"));
      }
      if (tile.hasFormForWhole()) {
        names.add(project.with("WHOLE", 1));
        names.add(project.function("moe_down").with("WHOLE", 1));
      }
    }
    Iterator<ComputeKernel> kernels = device.kernels(names).iterator();
    for (GroupTile tile : tiles) {
      variants.add(
          new Variant(
              tile,
              kernels.next(),
              kernels.next(),
              streams(tile) ? kernels.next() : null,
              streams(tile) ? kernels.next() : null,
              tile.hasFormForWhole() ? kernels.next() : null,
              tile.hasFormForWhole() ? kernels.next() : null));
    }
  }

  /** Whether there are kernels for few rows, which count on where elements of operands lie. */
  private boolean streams(GroupTile tile) {
    return (tile.units() == MatrixUnits.NVIDIA_MMA
            || (tile.units() == MatrixUnits.COOPERATIVE && hasRowsInQuads))
        && tile.multipliesOnMatrixUnits()
        && tile.rows() == FEW_ROWS;
  }

  /** Whether those of cooperative matrices do better with so many rows than tiles. */
  static boolean areFew(long rows, int experts) {
    return rows <= MOST_ROWS_OF_COOPERATIVE || rows <= (long) MOST_ROWS_OF_AN_EXPERT * experts;
  }

  /** Whether they take the work. */
  private static boolean streams(
      Variant variant, long rows, ExpertWeights weights, boolean aligned) {
    return variant.projectFew != null
        && (areFew(rows, weights.experts()) || variant.tile.units() != MatrixUnits.COOPERATIVE)
        && aligned
        && weights.hidden() % 8 == 0
        && weights.width() % 8 == 0;
  }

  private static boolean streams(Variant variant, ExpertWork work) {
    return streams(variant, work.slots(), work.weights(), work.aligned());
  }

  /** Whether work is as {@link Variant#projectWhole} takes it. */
  private static boolean isWhole(GroupTile tile, ExpertWork work) {
    ExpertWeights weights = work.weights();
    int columns = tile.columns();
    return work.aligned()
        && weights.hidden() % tile.depth() == 0
        && weights.hidden() % columns == 0
        && weights.width() % tile.depth() == 0
        && weights.width() % (weights.isGated() ? columns / 2 : columns) == 0
        && work.tokens() * work.xPitch() < MOST_ELEMENTS_OF_WHOLE
        && work.slots() * work.actPitch() < MOST_ELEMENTS_OF_WHOLE;
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
  int parts(long rows, ExpertWeights weights, boolean aligned) {
    Variant variant = choose(rows, weights.experts());
    if (rows > MOST_ROWS_OF_PARTS || traits.isCpu() || streams(variant, rows, weights, aligned)) {
      return 1;
    }
    int columns = variant.tile.columns();
    long groups =
        Math.max(1, Math.min(rows, weights.experts())) * ((spec.hidden() + columns - 1) / columns);
    long wanted = (long) GROUPS_OF_UNIT * traits.computeUnits() / groups;
    return (int) Math.max(1, Math.min(Math.min(wanted, MOST_PARTS), weights.width() / LEAST_DEPTH));
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
    int shared = weights.isGated() ? 2 : 1; // columns of a tile for each of act
    if (variant.projectFew != null && streams(variant, work)) {
      long groups = mostTiles * cut(weights.width(), FEW_COLUMNS / shared);
      stream.dispatch(variant.projectFew, groups, 1, 1, FEW_GROUP);
    } else {
      long groups = mostTiles * cut(weights.width(), variant.tile.columns() / shared);
      ComputeKernel whole = variant.projectWhole;
      stream.dispatch(
          whole != null && isWhole(variant.tile, work) ? whole : variant.project,
          groups,
          1,
          1,
          variant.tile.groupSize());
    }
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
    if (variant.downFew != null && streams(variant, work)) {
      long groups = mostTiles * cut(weights.hidden(), FEW_COLUMNS);
      stream.dispatch(variant.downFew, groups, 1, 1, FEW_GROUP);
    } else {
      long groups = mostTiles * cut(weights.hidden(), variant.tile.columns());
      ComputeKernel whole = variant.downWhole;
      stream.dispatch(
          whole != null && isWhole(variant.tile, work) ? whole : variant.down,
          groups,
          work.parts(),
          1,
          variant.tile.groupSize());
    }
  }

  private static long cut(int columns, int tileColumns) {
    return (columns + tileColumns - 1L) / tileColumns;
  }
}
