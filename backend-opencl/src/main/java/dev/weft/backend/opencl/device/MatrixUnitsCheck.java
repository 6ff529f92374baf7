package dev.weft.backend.opencl.device;

import dev.weft.WeftException;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.WaveTileCheck;
import java.util.List;

/**
 * Finds out which matrix units a device's kernels may use. A name says which it should have; that
 * the driver's compiler takes their instructions, and that sums lie in registers where the kernels
 * expect them, is proved by multiplying one tile of each type in each form ({@code
 * matrix/check.cl}). What fails is not used: kernels are then the plain ones, slower and right.
 *
 * @param units the units that proved themselves
 * @param reason why there are none; empty if there are
 */
record MatrixUnitsCheck(MatrixUnits units, String reason) {
  private static final int ROWS = 64;
  private static final int COLUMNS = 32;

  /**
   * The units that a device of this name has by its vendor's documents.
   *
   * @param name the device's name; AMD's are the chip, then options after a colon
   * @param computeCapability NVIDIA's, times ten; 0 for other vendors
   * @param waveSize work-items that run in step
   */
  static MatrixUnits byName(String name, int computeCapability, int waveSize) {
    if (computeCapability >= 80 && waveSize == 32) {
      return MatrixUnits.NVIDIA_MMA;
    }
    String chip = name.split(":", 2)[0];
    if ((chip.equals("gfx90a") || chip.startsWith("gfx94")) && waveSize == 64) {
      return MatrixUnits.AMD_MFMA;
    }
    if (chip.startsWith("gfx11") && waveSize == 32) {
      return MatrixUnits.AMD_WMMA;
    }
    if (chip.startsWith("gfx12") && waveSize == 32) {
      return MatrixUnits.AMD_WMMA_12;
    }
    return MatrixUnits.NONE;
  }

  /**
   * Tries the units that the device should have.
   *
   * @param device the device, which compiles and runs already; its traits are not asked for
   * @param expected what its name promises
   * @param isPlainWanted whether the user wants plain arithmetic
   */
  static MatrixUnitsCheck of(ComputeDevice device, MatrixUnits expected, boolean isPlainWanted) {
    if (expected == MatrixUnits.NONE) {
      return new MatrixUnitsCheck(MatrixUnits.NONE, "none is known of this device");
    }
    if (isPlainWanted) {
      return new MatrixUnitsCheck(MatrixUnits.NONE, "turned off by weft.opencl.matrix");
    }
    try {
      String wrong = wrongProduct(device, expected);
      return wrong.isEmpty()
          ? new MatrixUnitsCheck(expected, "")
          : new MatrixUnitsCheck(
              MatrixUnits.NONE, expected + " is not used, as its check was wrong: " + wrong);
    } catch (WeftException e) {
      String message = String.valueOf(e.getMessage()).lines().findFirst().orElse("");
      return new MatrixUnitsCheck(
          MatrixUnits.NONE, expected + " is not used, as its check failed: " + message);
    }
  }

  /** Says which product came out wrong, or nothing. */
  static String wrongProduct(ComputeDevice device, MatrixUnits units) {
    KernelName name =
        WaveTileCheck.kernel()
            .with("MATRIX", units.code())
            .with("WAVE", units == MatrixUnits.AMD_MFMA ? 64 : 32)
            .with("WM", ROWS)
            .with("WN", COLUMNS);
    device.kernels(List.of(name.with("TYPE", 1), name.with("TYPE", 2))); // side by side
    String wrong = WaveTileCheck.wrongProduct(device, name.with("TYPE", 1));
    return wrong.isEmpty() ? WaveTileCheck.wrongProduct(device, name.with("TYPE", 2)) : wrong;
  }
}
