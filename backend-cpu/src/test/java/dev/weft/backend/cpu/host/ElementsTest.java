package dev.weft.backend.cpu.host;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.backend.cpu.ReferenceProvider;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class ElementsTest {
  private final Device device = Weft.open(new ReferenceProvider(), "0", DeviceOptions.defaults());

  @AfterEach
  void close() {
    device.close();
  }

  private Tensor zeros(DataType type, long... shape) {
    Tensor tensor = device.allocate(type, shape);
    device.defaultStream().fill(tensor, (byte) 0);
    device.defaultStream().synchronize();
    return tensor;
  }

  /** All 16-bit patterns and the ties between neighbours, against the exact definition. */
  @ParameterizedTest
  @EnumSource(names = {"F16", "BF16"})
  void everyNumberOfAHalfTypeSurvivesAndTiesGoToEven(DataType type) {
    try (Tensor tensor = zeros(type, 1)) {
      Elements elements = Elements.of(tensor);
      double previous = Double.NaN;
      for (int bits = 0; bits < 0x10000; bits++) {
        elements.segment().set(ValueLayout.JAVA_SHORT, 0, (short) bits);
        double value = elements.get(0);
        elements.set(0, value);
        if (Double.isNaN(value)) {
          assertTrue(Double.isNaN(elements.get(0)));
          previous = Double.NaN;
          continue;
        }
        assertEquals(value, elements.get(0));
        if (Double.isFinite(value) && Double.isFinite(previous)) {
          double even = (bits & 1) == 0 ? value : previous;
          double tie = (value + previous) / 2;
          elements.set(0, tie);
          assertEquals(even, elements.get(0), () -> "tie at " + tie);
          // The float64 beside the tie rounds to float as the tie: rounding twice would fail here.
          elements.set(0, Math.nextAfter(tie, value));
          assertEquals(value, elements.get(0), () -> "beside the tie at " + tie);
          elements.set(0, Math.nextAfter(tie, previous));
          assertEquals(previous, elements.get(0), () -> "beside the tie at " + tie);
        }
        previous = value;
      }
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"F32", "F16", "BF16"})
  void aRowIsRoundedLikeSingleElements(DataType type) {
    int n = 4096;
    float[] row = new float[n];
    Random random = new Random(1);
    for (int i = 0; i < n; i++) {
      row[i] =
          switch (i % 4) {
            case 0 -> Float.intBitsToFloat(random.nextInt()); // NaN and infinities among them
            case 1 -> (float) random.nextGaussian();
            case 2 -> Float.intBitsToFloat(random.nextInt() & 0x80ffffff); // subnormal and tiny
            default -> Float.intBitsToFloat((random.nextInt() & 0xffff0000) | 0x8000); // ties
          };
    }
    row[0] = Float.intBitsToFloat(0x7f800001); // a NaN whose upper half is infinity
    row[1] = Float.MAX_VALUE;
    row[2] = 65520;
    try (Tensor tensor = zeros(type, 2, n)) {
      Elements elements = Elements.of(tensor);
      elements.setRow(row, 0, 1);
      float[] read = new float[n + 1];
      elements.copyRow(read, 1, 1);
      for (int i = 0; i < n; i++) {
        assertEquals((float) type.round(row[i]), read[i + 1], "element " + i + ": " + row[i]);
        elements.set(0, i, row[i]);
        assertEquals(elements.get(0, i), elements.get(1, i));
        assertEquals((float) elements.get(1, i), read[i + 1]);
      }
    }
  }

  @ParameterizedTest
  @EnumSource(DataType.class)
  void stridesOffsetsAndRanksAreFollowed(DataType type) {
    try (Tensor whole = zeros(type, 2, 3, 4, 5)) {
      Elements all = Elements.of(whole);
      for (int i = 0; i < 120; i++) {
        all.set(i / 60, i / 20 % 3, i / 5 % 4, i % 5, i);
      }
      Elements view = Elements.of(whole.slice(1, 1, 3).transpose(2, 3));
      assertEquals(4, view.rank());
      assertEquals(5, view.size(2));
      assertEquals(119, view.get(1, 1, 4, 3));
      assertEquals(60 + 20 + 5 * 2 + 3, view.getInt(1, 0, 3, 2));
      assertEquals((60 + 20 + 13) * (long) type.bytes(), view.byteOffset(1, 0, 3, 2));
      assertEquals((60 + 20) * (long) type.bytes(), view.byteOffset(1));
      float[] column = new float[4];
      view.copyRow(column, 0, 1, 0, 3);
      assertArrayEquals(new float[] {83, 88, 93, 98}, column);
      view.setRow(new float[] {0, 1, 2, 3, 4}, 1, 1, 0, 3);
      assertEquals(4, all.get(1, 1, 3, 3));
      assertEquals(82, all.get(1, 1, 0, 2));
      Elements matrix = Elements.of(whole.select(0, 0).select(0, 2));
      assertEquals(40 + 17, matrix.getInt(3, 2));
      assertEquals(57f, matrix.getFloat(3, 2));
      Elements vector = Elements.of(whole.select(0, 0).select(0, 2).select(1, 2));
      assertEquals(57, vector.get(3));
      vector.set(3, 9);
      assertEquals(9, matrix.get(3, 2));
      Elements cube = Elements.of(whole.select(0, 1));
      cube.set(0, 0, 0, 11);
      assertEquals(11, cube.getFloat(0, 0, 0));
      assertEquals(11, all.getFloat(1, 0, 0, 0));
    }
  }

  @Test
  void emptyRowsAreNoWork() {
    try (Tensor tensor = zeros(DataType.BF16, 2, 0)) {
      Elements elements = Elements.of(tensor);
      elements.copyRow(new float[0], 0, 1);
      elements.setRow(new float[0], 0, 1);
    }
  }

  @Test
  void wrappedMemoryOfAnyAlignmentIsAliased() {
    try (Arena arena = Arena.ofShared()) {
      MemorySegment odd = arena.allocate(17, 8).asSlice(1, 16);
      try (Tensor tensor = device.wrap(odd, DataType.F32, 4)) {
        Elements elements = Elements.of(tensor);
        elements.set(2, 2.5);
        elements.setRow(new float[] {1, 2, 3, 4}, 0);
        assertEquals(3f, odd.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 8));
        assertEquals(4, elements.get(3));
      }
    }
  }
}
