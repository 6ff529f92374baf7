package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.gpu.TensorLayout;
import dev.weft.gpu.moe.ExpertWeights;
import dev.weft.gpu.moe.MoeCodes;
import dev.weft.moe.MoeDispatchSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Experts on any device, of any types, layouts and alignment: F16 and BF16 throughout by matrix
 * units (mma.sync), all else by F32 FMA; moe_experts.cu.
 */
final class GenericExperts implements ExpertKernels {
  private static final int FMA_ROWS = 64;
  private static final int FMA_COLUMNS = 64;
  private static final int FMA_THREADS = 256;

  private final List<Variant> variants = new ArrayList<>();

  /** A compiled tile: the names here and the entry points of moe_experts.cu are the same list. */
  record Tile(String text, int rows, int columns, int threads, int sharedBytes) {
    String project() {
      return "moe_project_" + text;
    }

    String down() {
      return "moe_down_" + text;
    }

    /** Tiles of a type on matrix units, the fewest rows first. */
    static List<Tile> ofMatrixUnits(DataType type) {
      return List.of(
          mma(type, 16, 64, 128, 6), mma(type, 64, 128, 128, 4), mma(type, 128, 128, 256, 3));
    }

    private static Tile mma(DataType type, int rows, int columns, int threads, int stages) {
      int rowBytes = 128; // of a stage: 64 elements
      return new Tile(
          type.text() + "_m" + rows, rows, columns, threads, stages * (rows + columns) * rowBytes);
    }

    /** The tile for F32 and for types that differ. */
    static Tile ofAnyTypes() {
      return new Tile("any", FMA_ROWS, FMA_COLUMNS, FMA_THREADS, 0);
    }
  }

  private record Variant(Tile tile, KernelFunction project, KernelFunction down) {}

  GenericExperts(CudaDevice device, MoeDispatchSpec spec) {
    boolean matrixUnits = spec.dataType() == spec.weightType() && spec.dataType() != DataType.F32;
    for (Tile tile :
        matrixUnits ? Tile.ofMatrixUnits(spec.dataType()) : List.of(Tile.ofAnyTypes())) {
      variants.add(new Variant(tile, device.kernel(tile.project()), device.kernel(tile.down())));
    }
  }

  @Override
  public Optional<Tiling> tiling(ExpertShape shape) {
    Variant chosen = variants.getFirst();
    for (Variant variant : variants) {
      if (3L * chosen.tile.rows < 4 * shape.rowsPerExpert()) {
        chosen = variant; // else many experts would have a second tile
      }
    }
    return Optional.of(new Tiling(chosen.tile.rows, chosen.tile.rows));
  }

  private Variant variant(int rows) {
    for (Variant variant : variants) {
      if (variant.tile.rows == rows) {
        return variant;
      }
    }
    throw new IllegalArgumentException("no tile of " + rows + " rows");
  }

  @Override
  public void enqueue(CudaStream stream, ExpertWork work, Tiling tiling) {
    project(stream, work, tiling);
    down(stream, work, tiling);
  }

  private void project(CudaStream stream, ExpertWork work, Tiling tiling) {
    Variant variant = variant(tiling.projectRows());
    ExpertWeights weights = work.weights();
    int columns = weights.isGated() ? 2 * roundedUp(weights.width(), 8) : weights.width();
    int mostTiles = mostTiles(work, tiling.projectRows());
    ParameterBlock block =
        stream
            .parameters()
            .put(work.x())
            .put(work.act())
            .put(work.z())
            .put(work.zRows())
            .put(work.rows().permutation())
            .put(work.rows().offsets())
            .put(work.rows().projectTiles())
            .put(work.tokenCount());
    RowStructures.put(block, weights.gate());
    RowStructures.put(block, weights.up());
    RowStructures.put(block, weights.gateBias());
    RowStructures.put(block, weights.upBias());
    MoeDispatchSpec spec = work.spec();
    block
        .put(work.xPitch())
        .put(work.actPitch())
        .put(work.zPitch())
        .put(work.firstToken())
        .put(work.tokens())
        .put(weights.experts())
        .put(work.topK())
        .put(weights.hidden())
        .put(weights.width())
        .put(TensorLayout.typeCode(spec.dataType()))
        .put(TensorLayout.typeCode(weights.type()))
        .put(MoeCodes.activation(spec.activation()))
        .put(spec.swigluAlpha())
        .put(spec.swigluLimit())
        .put(work.xAligned() && weights.projectAligned() ? 1 : 0)
        .put(mostTiles);
    launch(stream, variant.project, variant.tile, mostTiles, columns);
  }

  private void down(CudaStream stream, ExpertWork work, Tiling tiling) {
    Variant variant = variant(tiling.downRows());
    ExpertWeights weights = work.weights();
    int mostTiles = mostTiles(work, tiling.downRows());
    ParameterBlock block =
        stream
            .parameters()
            .put(work.act())
            .put(work.out())
            .put(work.rows().permutation())
            .put(work.rows().offsets())
            .put(work.rows().downTiles())
            .put(work.tokenCount());
    RowStructures.put(block, weights.down());
    RowStructures.put(block, weights.downBias());
    block
        .put(work.actPitch())
        .put(work.outPitch())
        .put(work.firstToken())
        .put(work.tokens())
        .put(weights.experts())
        .put(weights.hidden())
        .put(weights.width())
        .put(TensorLayout.typeCode(work.spec().dataType()))
        .put(TensorLayout.typeCode(weights.type()))
        .put(weights.downAligned() ? 1 : 0)
        .put(mostTiles);
    launch(stream, variant.down, variant.tile, mostTiles, weights.hidden());
  }

  private static int mostTiles(ExpertWork work, int rows) {
    return Math.toIntExact(work.rows().mostTiles(work.weights().experts(), rows));
  }

  private static int roundedUp(int value, int multiple) {
    return (value + multiple - 1) / multiple * multiple;
  }

  private static void launch(
      CudaStream stream, KernelFunction kernel, Tile tile, int mostTiles, int columns) {
    long blocks = (long) mostTiles * ((columns + tile.columns - 1) / tile.columns);
    stream.launch(
        kernel,
        LaunchShape.of(blocks, 1, tile.threads)
            .withShared(tile.sharedBytes)
            .overlappingPredecessor());
  }
}
