package dev.weft.gpu.moe;

import dev.weft.DataType;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.TensorLayout;
import dev.weft.moe.MoeDispatchSpec;
import java.util.List;

/**
 * The tile of a product that a group of work-items computes, as moe/products has it.
 *
 * @param type the program's type: F32 for products of floats, whatever the types in memory
 * @param units whose instructions it is compiled with; floats are always multiplied by themselves
 * @param wave work-items of a wave
 * @param waveRows rows of a wave's part
 * @param waveColumns columns of a wave's part
 * @param rows of the tile
 * @param columns of the tile
 * @param depth of a stage
 * @param stages in local memory
 */
record GroupTile(
    DataType type,
    MatrixUnits units,
    int wave,
    int waveRows,
    int waveColumns,
    int rows,
    int columns,
    int depth,
    int stages) {
  /** With less, a group of the deepest stages would be alone on its compute unit. */
  private static final long MUCH_LOCAL_BYTES = 96 << 10;

  /** Tiles of F32 products, for all types; the fewest rows first. */
  static List<GroupTile> plain(ComputeTraits traits) {
    DataType type = DataType.F32;
    if (traits.isCpu()) {
      return List.of(
          new GroupTile(type, MatrixUnits.NONE, 32, 16, 32, 16, 64, 32, 2),
          new GroupTile(type, MatrixUnits.NONE, 32, 32, 32, 64, 64, 16, 2));
    }
    int wave = traits.waveSize() == 64 ? 64 : 32;
    // NVIDIA's not for their arithmetic, but as copies to local memory are asynchronous there.
    boolean asynchronous = traits.matrixUnits() == MatrixUnits.NVIDIA_MMA;
    MatrixUnits units = asynchronous ? MatrixUnits.NVIDIA_MMA : MatrixUnits.NONE;
    if (traits.localBytes() >= MUCH_LOCAL_BYTES) {
      // 64 rows: less of an expert's last tile is idle.
      return List.of(
          new GroupTile(type, units, wave, 16, 32, 16, 64, 32, asynchronous ? 3 : 2),
          new GroupTile(type, units, wave, 64, 32, 64, 128, 32, 2));
    }
    return List.of(
        new GroupTile(type, MatrixUnits.NONE, wave, 16, 32, 16, 64, 32, 2),
        new GroupTile(type, MatrixUnits.NONE, wave, 64, 32, 128, 64, 16, 2));
  }

  /** Tiles for a spec of one 16-bit type on matrix units; the fewest rows first. */
  static List<GroupTile> onMatrixUnits(DataType type, ComputeTraits traits) {
    MatrixUnits units = traits.matrixUnits();
    int wave = units == MatrixUnits.AMD_MFMA ? 64 : 32;
    if (units == MatrixUnits.NVIDIA_MMA) {
      // Rows of 128 bytes: half of that streams weights at two thirds of the speed.
      List<GroupTile> deep =
          List.of(
              new GroupTile(type, units, wave, 16, 16, 16, 64, 64, 4),
              new GroupTile(type, units, wave, 32, 32, 64, 128, 64, 2),
              new GroupTile(type, units, wave, 64, 32, 128, 128, 64, 2));
      if (deep.stream().allMatch(tile -> tile.localBytes() <= traits.localBytes())) {
        return deep;
      }
    }
    if (units == MatrixUnits.COOPERATIVE) { // measured on an H200, with 48 KiB of local memory
      return List.of(
          new GroupTile(type, units, wave, 16, 16, 16, 64, 128, 1),
          new GroupTile(type, units, wave, 32, 64, 64, 128, 64, 1),
          new GroupTile(type, units, wave, 64, 64, 128, 128, 64, 1));
    }
    return List.of(
        new GroupTile(type, units, wave, 16, 16, 16, 64, 64, 2),
        new GroupTile(type, units, wave, 32, 64, 64, 128, 32, 2),
        new GroupTile(type, units, wave, 64, wave, 128, 128, 32, 2));
  }

  /** The tiles for products of two types. */
  static List<GroupTile> of(DataType first, DataType second, ComputeTraits traits) {
    return usesMatrixUnits(first, second, traits) ? onMatrixUnits(first, traits) : plain(traits);
  }

  static boolean usesMatrixUnits(DataType first, DataType second, ComputeTraits traits) {
    return first == second
        && first != DataType.F32
        && traits.matrixUnits() != MatrixUnits.NONE
        && onMatrixUnits(first, traits).stream()
            .allMatch(tile -> tile.localBytes() <= traits.localBytes());
  }

  /**
   * Whether weights can go from memory straight into the operands of cooperative matrices, as
   * moe/few_units does it: for kernels of few rows that nobody sorts.
   */
  static boolean streamsOnCooperativeMatrices(ComputeDevice device, MoeDispatchSpec spec) {
    return device.traits().matrixUnits() == MatrixUnits.COOPERATIVE
        && device.hasRowsInQuads()
        && usesMatrixUnits(spec.dataType(), spec.weightType(), device.traits())
        && spec.hidden() % 8 == 0
        && spec.intermediate() % 8 == 0;
  }

  /** Whether products run on matrix units. */
  boolean multipliesOnMatrixUnits() {
    return type != DataType.F32;
  }

  int groupSize() {
    return rows / waveRows * (columns / waveColumns) * wave;
  }

  /** Local memory of a group, as moe/products computes it. */
  long localBytes() {
    int bytes = type.bytes();
    int chunk = 16 / bytes;
    long elements = operand(rows, chunk) + operand(columns, chunk);
    return Math.max(stages * elements * bytes, waveRows * (columns + 4L) * Float.BYTES);
  }

  private long operand(int size, int chunk) {
    return Math.max((long) size * (depth + chunk), (long) depth * (size + chunk));
  }

  /**
   * Whether there are kernels for operands of which every row is there, aligned and whole: in large
   * tiles of cooperative matrices a second way within one kernel costs registers.
   */
  boolean hasFormForWhole() {
    return units == MatrixUnits.COOPERATIVE && multipliesOnMatrixUnits() && rows > waveRows;
  }

  /** A kernel of a source, compiled for this tile. */
  KernelName kernel(String source, String function) {
    return KernelName.of(source, function)
        .with("TYPE", TensorLayout.typeCode(type))
        .with("MATRIX", units.code())
        .with("WAVE", wave)
        .with("WM", waveRows)
        .with("WN", waveColumns)
        .with("GROUP_M", rows)
        .with("GROUP_N", columns)
        .with("DEPTH", depth)
        .with("STAGES", stages);
  }
}
