package dev.weft.backend.opencl.device;

import dev.weft.WeftException;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.Region;
import dev.weft.spi.BackendMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

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
  private static final int DEPTH = 64;
  private static final int FORMS = 3;

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
    int wave = units == MatrixUnits.AMD_MFMA ? 64 : 32;
    List<KernelName> names = new ArrayList<>();
    for (int type = 1; type <= 2; type++) {
      names.add(
          KernelName.of("matrix/check", "multiply")
              .with("TYPE", type)
              .with("MATRIX", units.code())
              .with("WAVE", wave)
              .with("WM", ROWS)
              .with("WN", COLUMNS));
    }
    List<ComputeKernel> kernels = device.kernels(names);
    try (ComputeStream stream = (ComputeStream) device.newStream();
        Arena arena = Arena.ofConfined()) {
      for (int type = 1; type <= 2; type++) {
        for (int form = 0; form < FORMS; form++) {
          if (!isRight(device, stream, arena, kernels.get(type - 1), type, form, wave)) {
            return (type == 1 ? "F16" : "BF16") + ", form " + form;
          }
        }
      }
    }
    return "";
  }

  /** Small whole numbers, of which every sum is exact whatever its order. */
  private static boolean isRight(
      ComputeDevice device,
      ComputeStream stream,
      Arena arena,
      ComputeKernel kernel,
      int type,
      int form,
      int wave) {
    Random random = new Random(31L * type + form);
    int[] a = random.ints(ROWS * DEPTH, -8, 9).toArray(); // [row][k]
    int[] b = random.ints(COLUMNS * DEPTH, -8, 9).toArray(); // [column][k]
    int[] tile = random.ints(ROWS * COLUMNS, -99, 100).toArray();
    MemorySegment aHost = arena.allocate(2L * a.length, 16);
    MemorySegment bHost = arena.allocate(2L * b.length, 16);
    MemorySegment tileHost = arena.allocate(4L * tile.length, 16);
    MemorySegment outHost = arena.allocate(4L * tile.length, 16);
    for (int k = 0; k < DEPTH; k++) {
      for (int row = 0; row < ROWS; row++) {
        int at = form == 2 ? k * ROWS + row : row * DEPTH + k;
        aHost.setAtIndex(ValueLayout.JAVA_SHORT, at, bits(a[row * DEPTH + k], type));
      }
      for (int column = 0; column < COLUMNS; column++) {
        int at = form == 0 ? column * DEPTH + k : k * COLUMNS + column;
        bHost.setAtIndex(ValueLayout.JAVA_SHORT, at, bits(b[column * DEPTH + k], type));
      }
    }
    for (int i = 0; i < tile.length; i++) {
      tileHost.setAtIndex(ValueLayout.JAVA_FLOAT, i, tile[i]);
      outHost.setAtIndex(ValueLayout.JAVA_FLOAT, i, Float.NaN);
    }
    try (BackendMemory aMemory = device.allocate(aHost.byteSize());
        BackendMemory bMemory = device.allocate(bHost.byteSize());
        BackendMemory tileMemory = device.allocate(tileHost.byteSize());
        BackendMemory outMemory = device.allocate(outHost.byteSize())) {
      stream.upload(aHost, aMemory, 0);
      stream.upload(bHost, bMemory, 0);
      stream.upload(tileHost, tileMemory, 0);
      stream.upload(outHost, outMemory, 0);
      Arguments arguments = stream.arguments();
      arguments.region(new Region(aMemory, 0)).region(new Region(bMemory, 0));
      arguments.region(new Region(tileMemory, 0)).region(new Region(outMemory, 0)).value(form);
      stream.dispatch(kernel, 1, 1, 1, wave);
      stream.download(outMemory, 0, outHost);
      stream.synchronize();
    }
    for (int row = 0; row < ROWS; row++) {
      for (int column = 0; column < COLUMNS; column++) {
        int sum = tile[row * COLUMNS + column];
        for (int k = 0; k < DEPTH; k++) {
          sum += a[row * DEPTH + k] * b[column * DEPTH + k];
        }
        if (outHost.getAtIndex(ValueLayout.JAVA_FLOAT, (long) row * COLUMNS + column) != sum) {
          return false;
        }
      }
    }
    return true;
  }

  private static short bits(int value, int type) {
    return type == 1
        ? Float.floatToFloat16(value)
        : (short) (Float.floatToRawIntBits(value) >>> 16);
  }
}
