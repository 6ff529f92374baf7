package dev.weft.backend.opencl.device;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.backend.opencl.OpenClProvider;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.Region;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.spi.BackendMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Products of wave tiles on the device of this machine; any has the plain tier. */
class WaveTilesTest {
  private static final int DEPTH = 64;

  private ComputeDevice device;

  @BeforeEach
  void open() {
    OpenClProvider provider = new OpenClProvider();
    PresentDevice.required(provider);
    device = (ComputeDevice) PresentDevice.open(provider);
  }

  @AfterEach
  void close() {
    if (device != null) {
      device.close();
    }
  }

  @Test
  void unitsThatAreUsedAndThePlainTierAreRight() {
    assertEquals("", MatrixUnitsCheck.wrongProduct(device, MatrixUnits.NONE));
    assertEquals("", MatrixUnitsCheck.wrongProduct(device, device.traits().matrixUnits()));
  }

  /** Lanes stand in grids of 16 x 2 to 2 x 16. */
  @ParameterizedTest
  @CsvSource({
    "32, 16, 16", "32, 16, 32", "32, 16, 64", "32, 32, 32", "32, 32, 64", "32, 64, 32",
    "32, 64, 64", "32, 128, 16", "64, 16, 16", "64, 32, 64", "64, 64, 32", "64, 64, 64"
  })
  void plainTilesOfEveryShapeAreRight(int wave, int rows, int columns) {
    Random random = new Random(rows * 1000L + columns);
    KernelName name =
        KernelName.of("matrix/check", "multiply")
            .with("TYPE", 0)
            .with("MATRIX", 0)
            .with("WAVE", wave)
            .with("WM", rows)
            .with("WN", columns);
    int[] a = random.ints((long) rows * DEPTH, -8, 9).toArray();
    int[] b = random.ints((long) columns * DEPTH, -8, 9).toArray();
    for (int form = 0; form < 3; form++) {
      float[] got = multiply(name, wave, rows, columns, form, a, b);
      for (int row = 0; row < rows; row++) {
        for (int column = 0; column < columns; column++) {
          int sum = 0;
          for (int k = 0; k < DEPTH; k++) {
            sum +=
                a[form == 2 ? k * rows + row : row * DEPTH + k]
                    * b[form == 0 ? column * DEPTH + k : k * columns + column];
          }
          assertEquals(sum, got[row * columns + column], "form " + form);
        }
      }
    }
  }

  private float[] multiply(
      KernelName name, int wave, int rows, int columns, int form, int[] a, int[] b) {
    try (Arena arena = Arena.ofConfined();
        ComputeStream stream = (ComputeStream) device.newStream();
        BackendMemory aMemory = device.allocate(4L * a.length);
        BackendMemory bMemory = device.allocate(4L * b.length);
        BackendMemory tile = device.allocate(4L * rows * columns);
        BackendMemory out = device.allocate(4L * rows * columns)) {
      MemorySegment result = arena.allocate(out.bytes(), 16);
      stream.upload(floats(arena, a), aMemory, 0);
      stream.upload(floats(arena, b), bMemory, 0);
      stream.fill(tile, 0, tile.bytes(), (byte) 0);
      stream.fill(out, 0, out.bytes(), (byte) -1);
      stream
          .arguments()
          .region(new Region(aMemory, 0))
          .region(new Region(bMemory, 0))
          .region(new Region(tile, 0))
          .region(new Region(out, 0))
          .value(form);
      stream.dispatch(device.kernel(name), 1, 1, 1, wave);
      stream.download(out, 0, result);
      stream.synchronize();
      return result.toArray(ValueLayout.JAVA_FLOAT);
    }
  }

  private static MemorySegment floats(Arena arena, int[] values) {
    MemorySegment segment = arena.allocate(4L * values.length, 16);
    for (int i = 0; i < values.length; i++) {
      segment.setAtIndex(ValueLayout.JAVA_FLOAT, i, values[i]);
    }
    return segment;
  }

  @Test
  void localMemoryThatTheDeviceHasIsProved() {
    assertTrue(LocalMemoryCheck.holds(device, 32 * 1024));
  }
}
