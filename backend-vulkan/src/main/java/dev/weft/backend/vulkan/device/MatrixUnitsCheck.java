package dev.weft.backend.vulkan.device;

import dev.weft.WeftException;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.WaveTileCheck;

/**
 * Whether kernels may use cooperative matrices. That the device has them is the driver's word; that
 * sums come in pairs of neighbouring columns, as the kernels want it, and products are right, is
 * proved by multiplying a tile of each type in each form ({@code matrix/check}). What fails is not
 * used: kernels are then the plain ones, slower and right.
 *
 * @param units the units that proved themselves
 * @param reason why there are none; empty if there are
 */
record MatrixUnitsCheck(MatrixUnits units, String reason) {
  static final String PROPERTY = "weft.vulkan.matrix";
  private static final int ROWS = 64;
  private static final int COLUMNS = 32;

  /**
   * Tries them.
   *
   * @param device the device, which compiles and runs already; its traits are not asked for
   * @param missing what the driver says that it lacks, or nothing
   */
  static MatrixUnitsCheck of(ComputeDevice device, String missing) {
    if (!missing.isEmpty()) {
      return new MatrixUnitsCheck(MatrixUnits.NONE, missing);
    }
    if (System.getProperty(PROPERTY, "").equals("plain")) {
      return new MatrixUnitsCheck(MatrixUnits.NONE, "turned off by " + PROPERTY);
    }
    try {
      for (int type = 1; type <= 2; type++) {
        String wrong = WaveTileCheck.wrongProduct(device, kernel(MatrixUnits.COOPERATIVE, type));
        if (!wrong.isEmpty()) {
          return new MatrixUnitsCheck(MatrixUnits.NONE, "their check was wrong: " + wrong);
        }
      }
      return new MatrixUnitsCheck(MatrixUnits.COOPERATIVE, "");
    } catch (WeftException e) {
      String message = String.valueOf(e.getMessage()).lines().findFirst().orElse("");
      return new MatrixUnitsCheck(MatrixUnits.NONE, "their check failed: " + message);
    }
  }

  /** Units that are not proved. */
  static MatrixUnitsCheck none(String reason) {
    return new MatrixUnitsCheck(MatrixUnits.NONE, reason);
  }

  /** The check of a tile of a 16-bit type. */
  static KernelName kernel(MatrixUnits units, int type) {
    return WaveTileCheck.kernel()
        .with("TYPE", type)
        .with("MATRIX", units.code())
        .with("WAVE", 32)
        .with("WM", ROWS)
        .with("WN", COLUMNS);
  }
}
