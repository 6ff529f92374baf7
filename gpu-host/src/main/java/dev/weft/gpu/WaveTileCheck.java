package dev.weft.gpu;

import dev.weft.spi.BackendMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Map;
import java.util.Random;

/**
 * Proves a wave tile on a device by products of small whole numbers, of which every sum is exact
 * whatever its order ({@code matrix/check} of the portable backends).
 */
public final class WaveTileCheck {
  private static final int DEPTH = 64;
  private static final int FORMS = 3;

  private final ComputeDevice device;
  private final ComputeKernel kernel;
  private final int type;
  private final int rows;
  private final int columns;
  private final int wave;

  private WaveTileCheck(ComputeDevice device, KernelName name) {
    this.device = device;
    Map<String, Integer> constants = name.constants();
    type = constants.getOrDefault("TYPE", 0);
    rows = constants.getOrDefault("WM", 0);
    columns = constants.getOrDefault("WN", 0);
    wave = constants.getOrDefault("WAVE", 0);
    kernel = device.kernel(name);
  }

  /** The kernel that multiplies one tile: the rest of its constants say which. */
  public static KernelName kernel() {
    return KernelName.of("matrix/check", "multiply");
  }

  /**
   * Multiplies a tile in all three forms.
   *
   * @param device compiles and runs already; its traits are not asked for
   * @param name {@link #kernel()} with TYPE, WAVE, WM, WN and whatever else it is compiled with
   * @return which product came out wrong, or nothing
   */
  public static String wrongProduct(ComputeDevice device, KernelName name) {
    WaveTileCheck check = new WaveTileCheck(device, name);
    try (ComputeStream stream = (ComputeStream) device.newStream();
        Arena arena = Arena.ofConfined()) {
      for (int form = 0; form < FORMS; form++) {
        if (!check.isRight(stream, arena, form)) {
          return (check.type == 0 ? "F32" : check.type == 1 ? "F16" : "BF16") + ", form " + form;
        }
      }
    }
    return "";
  }

  private boolean isRight(ComputeStream stream, Arena arena, int form) {
    Random random = new Random(31L * type + form);
    int[] a = random.ints((long) rows * DEPTH, -8, 9).toArray(); // [row][k]
    int[] b = random.ints((long) columns * DEPTH, -8, 9).toArray(); // [column][k]
    int[] tile = random.ints((long) rows * columns, -99, 100).toArray();
    int bytes = type == 0 ? 4 : 2;
    MemorySegment aHost = arena.allocate((long) bytes * a.length, 16);
    MemorySegment bHost = arena.allocate((long) bytes * b.length, 16);
    MemorySegment tileHost = arena.allocate(4L * tile.length, 16);
    MemorySegment outHost = arena.allocate(4L * tile.length, 16);
    for (int k = 0; k < DEPTH; k++) {
      for (int row = 0; row < rows; row++) {
        put(aHost, form == 2 ? k * rows + row : row * DEPTH + k, a[row * DEPTH + k]);
      }
      for (int column = 0; column < columns; column++) {
        put(bHost, form == 0 ? column * DEPTH + k : k * columns + column, b[column * DEPTH + k]);
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
    for (int row = 0; row < rows; row++) {
      for (int column = 0; column < columns; column++) {
        int sum = tile[row * columns + column];
        for (int k = 0; k < DEPTH; k++) {
          sum += a[row * DEPTH + k] * b[column * DEPTH + k];
        }
        if (outHost.getAtIndex(ValueLayout.JAVA_FLOAT, (long) row * columns + column) != sum) {
          return false;
        }
      }
    }
    return true;
  }

  private void put(MemorySegment target, int index, int value) {
    switch (type) {
      case 0 -> target.setAtIndex(ValueLayout.JAVA_FLOAT, index, value);
      case 1 -> target.setAtIndex(ValueLayout.JAVA_SHORT, index, Float.floatToFloat16(value));
      default ->
          target.setAtIndex(
              ValueLayout.JAVA_SHORT, index, (short) (Float.floatToRawIntBits(value) >>> 16));
    }
  }
}
