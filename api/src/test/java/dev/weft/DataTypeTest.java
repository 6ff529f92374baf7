package dev.weft;

import static dev.weft.fake.Messages.assertMentions;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Elements are rounded once, to nearest even, and widened exactly. */
class DataTypeTest {
  /** The value of a small floating format's pattern, from the definition. */
  private static double decode(int bits, int exponentBits, int fractionBits) {
    int bias = (1 << (exponentBits - 1)) - 1;
    int exponent = bits >>> fractionBits & ((1 << exponentBits) - 1);
    int fraction = bits & ((1 << fractionBits) - 1);
    double sign = bits >>> (exponentBits + fractionBits) == 0 ? 1 : -1;
    if (exponent == (1 << exponentBits) - 1) {
      return fraction == 0 ? sign * Double.POSITIVE_INFINITY : Double.NaN;
    }
    return exponent == 0
        ? sign * Math.scalb((double) fraction, 1 - bias - fractionBits)
        : sign
            * Math.scalb((double) (fraction + (1 << fractionBits)), exponent - bias - fractionBits);
  }

  private static double decode(DataType type, int bits) {
    return type == DataType.F16 ? decode(bits, 5, 10) : decode(bits, 8, 7);
  }

  private static int encode(DataType type, double value) {
    MemorySegment segment = MemorySegment.ofArray(new short[1]);
    type.set(segment, 0, value);
    return segment.get(ValueLayout.JAVA_SHORT, 0) & 0xffff;
  }

  @ParameterizedTest
  @EnumSource(names = {"F16", "BF16"})
  void allPatternsAreReadExactlyAndWrittenBack(DataType type) {
    MemorySegment segment = MemorySegment.ofArray(new short[1]);
    for (int bits = 0; bits < 1 << 16; bits++) {
      segment.set(ValueLayout.JAVA_SHORT, 0, (short) bits);
      double value = type.get(segment, 0);
      double expected = decode(type, bits);
      assertEquals(expected, value, "pattern " + Integer.toHexString(bits));
      assertEquals(expected, type.round(expected));
      if (Double.isNaN(expected)) {
        assertTrue(Double.isNaN(decode(type, encode(type, value))));
      } else {
        assertEquals(bits, encode(type, value), "pattern " + Integer.toHexString(bits));
      }
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"F16", "BF16"})
  void tiesGoToEvenAndTheirNeighboursToTheNearest(DataType type) {
    int infinity = type == DataType.F16 ? 0x7c00 : 0x7f80;
    for (int bits = 0; bits < infinity; bits++) {
      double low = decode(type, bits);
      // One past the largest finite number would be the next power of two.
      double high =
          bits + 1 == infinity ? 2 * low - decode(type, bits - 1) : decode(type, bits + 1);
      double tie = (low + high) / 2; // exact in float64
      int even = (bits & 1) == 0 ? bits : bits + 1;
      assertEquals(even, encode(type, tie));
      assertEquals(bits, encode(type, Math.nextDown(tie)), "a double just below the tie");
      assertEquals(bits + 1, encode(type, Math.nextUp(tie)), "a double just above the tie");
      assertEquals(even | 0x8000, encode(type, -tie));
      assertEquals(bits | 0x8000, encode(type, Math.nextUp(-tie)));
      assertEquals(bits + 1 | 0x8000, encode(type, Math.nextDown(-tie)));
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"F32", "F16", "BF16"})
  void specialValuesKeepTheirMeaning(DataType type) {
    assertEquals(Double.POSITIVE_INFINITY, type.round(Double.POSITIVE_INFINITY));
    assertEquals(Double.NEGATIVE_INFINITY, type.round(Double.NEGATIVE_INFINITY));
    assertEquals(Double.POSITIVE_INFINITY, type.round(1e300));
    assertEquals(Double.NEGATIVE_INFINITY, type.round(-1e300));
    assertTrue(Double.isNaN(type.round(Double.NaN)));
    assertEquals(0.0, type.round(1e-300));
    assertEquals(-0.0, type.round(-1e-300));
    assertEquals(-0.0, type.round(-0.0));
    assertEquals(1.0, type.round(1.0));
  }

  @Test
  void overflowBeginsHalfAStepAboveTheLargestNumber() {
    assertEquals(65504, DataType.F16.round(65504));
    assertEquals(65504, DataType.F16.round(Math.nextDown(65520.0)));
    assertEquals(Double.POSITIVE_INFINITY, DataType.F16.round(65520));
    assertEquals(Math.scalb(1.0, -24), DataType.F16.round(Math.nextUp(Math.scalb(1.0, -25))));
    assertEquals(0, DataType.F16.round(Math.scalb(1.0, -25)));
  }

  @ParameterizedTest
  @EnumSource(names = {"F32", "F16", "BF16"})
  void roundingIsWithinTheUnitRoundoffAndMonotone(DataType type) {
    Random random = new Random(7);
    for (int i = 0; i < 20_000; i++) {
      double value = Math.scalb(random.nextDouble() + 0.5, random.nextInt(20) - 10);
      double rounded = type.round(value);
      assertTrue(Math.abs(rounded - value) <= type.unitRoundoff() * value);
      assertTrue(type.round(Math.nextUp(value)) >= rounded);
    }
  }

  @Test
  void integersAreTruncated() {
    assertEquals(-3, DataType.I32.round(-3.9));
    assertEquals(Integer.MAX_VALUE, DataType.I32.round(1e12));
    assertEquals(200, DataType.U8.round(200.7));
    HostTensor flags = HostTensor.allocate(DataType.U8, 2);
    flags.set(1, 200);
    assertEquals(200, flags.get(1));
    HostTensor ints = HostTensor.ofInts(new int[] {Integer.MIN_VALUE, 7}, 2);
    assertEquals(Integer.MIN_VALUE, ints.get(0));
    assertEquals(7, ints.toInts()[1]);
  }

  @Test
  void namesAreLowerCaseAndParsedInEither() {
    assertEquals("bf16", DataType.BF16.text());
    assertEquals(DataType.BF16, DataType.parse("bf16"));
    assertEquals(DataType.F32, DataType.parse("F32"));
    assertMentions(
        assertThrows(IllegalArgumentException.class, () -> DataType.parse("float")),
        "f32, f16, bf16",
        "'float'");
  }

  @Test
  void elementsNeedNoAlignment() {
    MemorySegment segment = MemorySegment.ofArray(new byte[9]).asSlice(1);
    for (DataType type : DataType.values()) {
      type.set(segment, 1, 3);
      assertEquals(3, type.get(segment, 1));
    }
  }

  @Test
  void hostTensorsConvertAndCheckTheirSize() {
    HostTensor tensor =
        HostTensor.ofFloats(DataType.F32, new float[] {1, 1 + 0x1p-8f, -2, 3}, 2, 2);
    HostTensor half = tensor.to(DataType.BF16);
    assertEquals(1, half.get(1), "a tie to even");
    assertEquals("bf16[2, 2]", half.toString());
    assertEquals(-2f, half.toFloats()[2]);
    assertEquals(3.0, half.toDoubles()[3]);
    assertMentions(
        assertThrows(
            IllegalArgumentException.class,
            () -> HostTensor.of(DataType.F32, MemorySegment.ofArray(new byte[12]), 2, 2)),
        "expected a segment of 16 bytes, but it has 12");
    assertMentions(
        assertThrows(
            IllegalArgumentException.class,
            () -> HostTensor.ofFloats(DataType.F32, new float[3], 2, 2)),
        "expected 4 values, but 3");
    assertThrows(IllegalArgumentException.class, () -> HostTensor.allocate(DataType.F32, -1));
    assertThrows(
        IllegalArgumentException.class,
        () -> HostTensor.allocate(DataType.F32, Long.MAX_VALUE / 2, 2));
    assertThrows(IllegalArgumentException.class, () -> HostTensor.allocate(DataType.F32, 1L << 61));
  }
}
