package dev.weft.backend.cpu.arithmetic;

import static dev.weft.backend.cpu.arithmetic.Arithmetic.LANES;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

class ArithmeticTest {
  private final Random random = new Random(7);

  /** The plain loops, and the vectors where they are there. */
  static Set<Arithmetic> arithmetics() {
    Set<Arithmetic> both = new LinkedHashSet<>();
    both.add(new ScalarArithmetic());
    both.add(Arithmetic.ofThisMachine());
    return both;
  }

  private float[] drawn(int length) {
    float[] values = new float[length];
    for (int i = 0; i < length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  @Test
  void vectorsAreUsedIfAndOnlyIfTheirModuleIsThere() {
    boolean there = ModuleLayer.boot().findModule("jdk.incubator.vector").isPresent();
    assertEquals(there, Arithmetic.ofThisMachine().isVector());
    // Each run of the build says which path it is for.
    String path = System.getProperty("weft.test.path");
    if (path != null) {
      assertEquals(path.equals("vector"), there);
    }
  }

  @ParameterizedTest
  @MethodSource("arithmetics")
  void productsByRowsAndByColumnsAreRightForAllTails(Arithmetic arithmetic) {
    for (int rows : new int[] {1, 2, 3, 4, 7, 12, 13, 29}) {
      for (int depth : new int[] {0, 1, 5, 64, 131}) {
        for (int columns : new int[] {1, 16, 31, 48, 64}) {
          products(arithmetic, rows, depth, arithmetic.wholeVectors(columns));
        }
      }
    }
  }

  private void products(Arithmetic arithmetic, int rows, int depth, int lanes) {
    float[] a = drawn(rows * depth + 3);
    float[] b = drawn(depth * LANES + 5);
    float[] start = drawn(rows * LANES);
    float[] byRows = start.clone();
    arithmetic.multiplyRows(rows, depth, lanes, a, 3, depth, b, 5, byRows, 0);
    float[] turned = new float[rows * depth + Arithmetic.SLACK];
    Arrays.fill(turned, Float.NaN); // what lies behind must not matter
    for (int i = 0; i < rows; i++) {
      for (int k = 0; k < depth; k++) {
        turned[k * rows + i] = a[3 + i * depth + k];
      }
    }
    float[] byColumns = start.clone();
    arithmetic.multiplyColumns(rows, depth, lanes, turned, 0, rows, b, 5, byColumns, 0);
    assertArrayEquals(byRows, byColumns);
    for (int i = 0; i < rows; i++) {
      for (int lane = 0; lane < LANES; lane++) {
        double want = start[i * LANES + lane];
        double size = 1;
        for (int k = 0; lane < lanes && k < depth; k++) {
          double term = (double) a[3 + i * depth + k] * b[5 + k * LANES + lane];
          want += term;
          size += Math.abs(term);
        }
        assertEquals(want, byRows[i * LANES + lane], lane < lanes ? size * 1e-6 : 0);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("arithmetics")
  void noLaneOfAProductDependsOnHowManyLanesOrRowsThereAre(Arithmetic arithmetic) {
    float[] a = drawn(24 * 100);
    float[] b = drawn(100 * LANES);
    float[] all = new float[24 * LANES];
    arithmetic.multiplyRows(24, 100, LANES, a, 0, 100, b, 0, all, 0);
    for (int lanes = arithmetic.wholeVectors(1);
        lanes < LANES;
        lanes += arithmetic.wholeVectors(1)) {
      for (int rows = 1; rows < 24; rows++) {
        float[] some = new float[24 * LANES];
        arithmetic.multiplyRows(rows, 100, lanes, a, 0, 100, b, 0, some, 0);
        for (int i = 0; i < rows; i++) {
          for (int lane = 0; lane < lanes; lane++) {
            assertEquals(all[i * LANES + lane], some[i * LANES + lane]);
          }
        }
      }
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"F32", "F16", "BF16"})
  void dotProductsStreamRowsOfEachType(DataType type) {
    int depth = 75;
    int rows = 11;
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment memory = arena.allocate((long) rows * (depth + 3) * type.bytes());
      for (long i = 0; i < (long) rows * (depth + 3); i++) {
        type.set(memory, i, random.nextGaussian());
      }
      MatrixRows matrix = new MatrixRows(type, memory, 0, (depth + 3L) * type.bytes(), depth);
      for (Arithmetic arithmetic : arithmetics()) {
        for (int count = 1; count <= 5; count++) {
          float[] x = drawn(count * 80);
          float[] out = new float[count * 20];
          float[] scratch = new float[4 * depth + Arithmetic.DOT_SLACK];
          arithmetic.dots(matrix, 1, rows - 1, x, 80, count, out, 2, 20, scratch);
          for (int n = 0; n < count; n++) {
            for (int r = 0; r < rows - 1; r++) {
              double want = 0;
              for (int k = 0; k < depth; k++) {
                want += type.get(memory, (r + 1L) * (depth + 3) + k) * x[n * 80 + k];
              }
              assertEquals(want, out[2 + n * 20 + r], 1e-4);
            }
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("arithmetics")
  void everyHalfIsWidenedExactly(Arithmetic arithmetic) {
    int all = 1 << 16;
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment memory = arena.allocate(2L * all);
      for (int i = 0; i < all; i++) {
        memory.setAtIndex(ValueLayout.JAVA_SHORT, i, (short) i);
      }
      for (DataType type : new DataType[] {DataType.F16, DataType.BF16}) {
        float[] values = new float[all];
        arithmetic.read(type, memory, 0, values, 0, all);
        for (int i = 0; i < all; i++) {
          assertEquals((float) type.get(memory, i), values[i], type.text() + " " + i);
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("arithmetics")
  void writtenNumbersAreRoundedToNearestEven(Arithmetic arithmetic) {
    float[] values = new float[100_003];
    for (int i = 0; i < values.length; i++) {
      values[i] = Float.intBitsToFloat(random.nextInt());
    }
    values[0] = Float.NaN;
    values[1] = Float.intBitsToFloat(0x7f800001); // a NaN whose payload lies in the lower half
    values[2] = Float.intBitsToFloat(0x3f808000); // ties of BF16
    values[3] = Float.intBitsToFloat(0x3f818000);
    try (Arena arena = Arena.ofConfined()) {
      for (DataType type : new DataType[] {DataType.F32, DataType.F16, DataType.BF16}) {
        MemorySegment memory = arena.allocate((long) values.length * type.bytes());
        arithmetic.write(type, values, 0, memory, 0, values.length);
        for (int i = 0; i < values.length; i++) {
          assertEquals(type.round(values[i]), type.get(memory, i), type.text());
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("arithmetics")
  void exponentialsAreWithinTwoUlp(Arithmetic arithmetic) {
    float[] x = new float[200_003];
    for (int i = 0; i < x.length; i++) {
      x[i] = -110 + 205f * i / x.length;
    }
    x[0] = Float.NEGATIVE_INFINITY;
    x[1] = Float.POSITIVE_INFINITY;
    x[2] = Float.NaN;
    x[3] = 0;
    float[] got = x.clone();
    arithmetic.exp(got, 0, got.length);
    assertEquals(1, got[3]);
    for (int i = 0; i < x.length; i++) {
      double want = Math.exp(x[i]);
      if (Double.isNaN(want)) {
        assertTrue(Float.isNaN(got[i]));
      } else if (want > Float.MAX_VALUE) {
        assertTrue(got[i] >= 0x1.fffffcp127f, "exp " + x[i] + " = " + got[i]);
      } else {
        assertEquals(want, got[i], 2 * Math.ulp((float) want), "exp " + x[i]);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("arithmetics")
  void functionsGiveTheSameBitsWhereverAnElementLies(Arithmetic arithmetic) {
    int length = 131;
    float[] x = drawn(length);
    float[] y = drawn(length);
    for (int at = 0; at < length; at++) {
      for (int count : new int[] {1, length - at}) {
        float[] exp = x.clone();
        arithmetic.exp(exp, at, count);
        float[] few = x.clone();
        arithmetic.expOfFew(few, at, count);
        assertArrayEquals(exp, few);
        float[] silu = x.clone();
        arithmetic.silu(silu, at, count);
        float[] slope = y.clone();
        arithmetic.timesSiluSlope(x, at, slope, at, count);
        float[] gated = new float[length];
        arithmetic.gatedSigmoid(x, at, y, at, 1.7f, 1, gated, at, count);
        float[] alone = {x[at], x[at], y[at], y[at]};
        arithmetic.exp(alone, 0, 1);
        arithmetic.silu(alone, 1, 1);
        arithmetic.timesSiluSlope(x, at, alone, 2, 1);
        arithmetic.gatedSigmoid(x, at, y, at, 1.7f, 1, alone, 3, 1);
        assertArrayEquals(
            alone, new float[] {exp[at], silu[at], slope[at], gated[at]}, "element " + at);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("arithmetics")
  void softmaxInStepsIsSoftmax(Arithmetic arithmetic) {
    int keys = 30;
    int tile = 7;
    float[] scores = drawn(keys * LANES);
    int[] seen = new int[LANES];
    for (int lane = 0; lane < LANES; lane++) {
      seen[lane] = lane % (keys + 1);
    }
    float[] max = new float[LANES];
    Arrays.fill(max, Float.NEGATIVE_INFINITY);
    float[] sum = new float[LANES];
    float[] correction = new float[LANES];
    for (int first = 0; first < keys; first += tile) {
      int count = Math.min(tile, keys - first);
      float[] panel = new float[(count + 1) * LANES];
      System.arraycopy(scores, first * LANES, panel, 0, count * LANES);
      int[] visible = new int[LANES];
      for (int lane = 0; lane < LANES; lane++) {
        visible[lane] = seen[lane] - first;
        for (int key = Math.max(0, visible[lane]); key < count; key++) {
          panel[key * LANES + lane] = Float.NaN; // must not matter
        }
      }
      arithmetic.softmaxStep(panel, count, LANES, 1.5f, visible, max, sum, correction);
    }
    for (int lane = 0; lane < LANES; lane++) {
      double want = 0;
      float highest = Float.NEGATIVE_INFINITY;
      for (int key = 0; key < seen[lane]; key++) {
        highest = Math.max(highest, scores[key * LANES + lane] * 1.5f);
      }
      for (int key = 0; key < seen[lane]; key++) {
        want += Math.exp(scores[key * LANES + lane] * 1.5 - highest);
      }
      assertEquals(highest, max[lane]);
      assertEquals(want, sum[lane], 1e-5 * Math.max(1, want));
    }
  }

  @ParameterizedTest
  @MethodSource("arithmetics")
  void convolutionsAreRightForAllWidths(Arithmetic arithmetic) {
    int channels = 37;
    int rows = 9;
    for (int width = 2; width <= 8; width++) {
      float[] in = drawn((rows + width - 1) * channels);
      float[] taps = drawn((width + 1) * 50);
      for (boolean silu : new boolean[] {false, true}) {
        float[] out = new float[rows * channels];
        arithmetic.convolve(
            in, 0, channels, rows, width, channels, taps, 4, 50 - 1, silu, out, 0, channels);
        for (int r = 0; r < rows; r++) {
          for (int c = 0; c < channels; c++) {
            double want = taps[4 + width * 49 + c];
            for (int k = 0; k < width; k++) {
              want += (double) taps[4 + k * 49 + c] * in[(r + k) * channels + c];
            }
            want = silu ? want / (1 + Math.exp(-want)) : want;
            assertEquals(want, out[r * channels + c], 1e-5);
          }
        }
      }
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DataType.class,
      names = {"F32", "BF16"})
  void convolutionsInMemoryGiveTheBitsOfThoseInBuffers(DataType type) {
    Arithmetic arithmetic = Arithmetic.ofThisMachine();
    int channels = 64;
    int rows = 9;
    int width = 4;
    int pitch = channels + 5;
    float[] taps = drawn((width + 1) * channels);
    try (Arena arena = Arena.ofConfined()) {
      long bytes = (long) type.bytes() * pitch * (rows + width);
      MatrixRows in = matrix(arena.allocate(bytes), type, pitch, channels);
      MatrixRows out = matrix(arena.allocate(bytes), type, pitch, channels);
      float[] values = new float[(rows + width - 1) * channels];
      for (int r = 0; r < rows + width - 1; r++) {
        float[] row = drawn(channels);
        row[r] *= 400; // SiLU vanishes, or is the number itself
        row[r + 20] = Float.NaN;
        arithmetic.write(type, row, 0, in.segment(), in.offset(r, 0), channels);
        arithmetic.read(type, in.segment(), in.offset(r, 0), values, r * channels, channels);
      }
      for (boolean silu : new boolean[] {false, true}) {
        out.segment().fill((byte) 7);
        float[] want = new float[rows * channels];
        arithmetic.convolve(
            values, 0, channels, rows, width, channels, taps, 0, channels, silu, want, 0, channels);
        boolean done =
            arithmetic.convolveInMemory(
                in, 0, out, 1, rows, width, 0, channels, taps, channels, silu);
        assertEquals(arithmetic.isVector(), done);
        for (int r = 0; done && r < rows; r++) {
          MemorySegment rounded = arena.allocate((long) type.bytes() * channels);
          arithmetic.write(type, want, r * channels, rounded, 0, channels);
          MemorySegment got = out.segment().asSlice(out.offset(r + 1L, 0), rounded.byteSize());
          assertEquals(-1, rounded.mismatch(got));
        }
        assertEquals(0x07, out.segment().get(ValueLayout.JAVA_BYTE, 0));
      }
    }
  }

  private static MatrixRows matrix(MemorySegment segment, DataType type, int pitch, int length) {
    return new MatrixRows(type, segment, 0, (long) type.bytes() * pitch, length);
  }

  @ParameterizedTest
  @MethodSource("arithmetics")
  void siluIsTheSameForVectorsAndForSingleNumbers(Arithmetic arithmetic) {
    float[] values = new float[LANES];
    for (float start : new float[] {-200, -104, -90, -40, -2, 40, 84}) {
      for (int i = 0; i < LANES; i++) {
        values[i] = start + 0.37f * i;
      }
      values[3] = Float.NaN;
      values[5] = Float.POSITIVE_INFINITY;
      values[7] = -Float.MAX_VALUE;
      float[] together = values.clone();
      arithmetic.silu(together, 0, LANES);
      for (int i = 0; i < LANES; i++) {
        float[] one = {values[i]};
        arithmetic.silu(one, 0, 1);
        assertEquals(one[0], together[i]);
        double want = values[i] / (1 + Math.exp(-(double) values[i]));
        if (Double.isFinite(want)) {
          assertEquals(want, together[i], 1e-36 + 4e-7 * Math.abs(want));
        }
      }
    }
  }
}
