package dev.weft;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Locale;

/** The storage type of a tensor's elements. Elements are stored in native (little-endian) order. */
public enum DataType {
  /** IEEE 754 binary32. */
  F32(4, 24, true),
  /** IEEE 754 binary16. */
  F16(2, 11, true),
  /** bfloat16: the upper half of a binary32. */
  BF16(2, 8, true),
  /** Two's complement 32-bit integer. */
  I32(4, 32, false),
  /** Unsigned 8-bit integer; flags are 0 or 1. */
  U8(1, 8, false);

  private final int bytes;
  private final int significandBits;
  private final boolean floating;

  DataType(int bytes, int significandBits, boolean floating) {
    this.bytes = bytes;
    this.significandBits = significandBits;
    this.floating = floating;
  }

  /**
   * Returns the size of one element.
   *
   * @return bytes per element
   */
  public int bytes() {
    return bytes;
  }

  /**
   * Tells whether elements are floating point numbers.
   *
   * @return true for F32, F16 and BF16
   */
  public boolean isFloating() {
    return floating;
  }

  /**
   * Returns the unit roundoff of a floating type: half the distance between 1 and the next number.
   *
   * @return 2^-24 for F32, 2^-11 for F16, 2^-8 for BF16
   */
  public double unitRoundoff() {
    return Math.scalb(1.0, -significandBits);
  }

  /**
   * Rounds to this type, to nearest with ties to even, and widens again.
   *
   * @param value a number
   * @return the nearest number of this type; integers are truncated towards zero
   */
  public double round(double value) {
    return switch (this) {
      case F32 -> (float) value;
      case F16 -> Float.float16ToFloat(float16Bits(value));
      case BF16 -> Float.intBitsToFloat(bfloat16Bits(value) << 16);
      case I32 -> (int) value;
      case U8 -> ((int) value) & 0xff;
    };
  }

  /**
   * Reads one element, widened to float64 (exact for every type).
   *
   * @param segment the storage; its base needs no alignment
   * @param index element index from the start of the segment
   * @return the element's value
   */
  public double get(MemorySegment segment, long index) {
    return switch (this) {
      case F32 -> segment.get(ValueLayout.JAVA_FLOAT_UNALIGNED, index << 2);
      case F16 -> Float.float16ToFloat(segment.get(ValueLayout.JAVA_SHORT_UNALIGNED, index << 1));
      case BF16 ->
          Float.intBitsToFloat(segment.get(ValueLayout.JAVA_SHORT_UNALIGNED, index << 1) << 16);
      case I32 -> segment.get(ValueLayout.JAVA_INT_UNALIGNED, index << 2);
      case U8 -> segment.get(ValueLayout.JAVA_BYTE, index) & 0xff;
    };
  }

  /**
   * Stores one element, rounded once from float64 to nearest even.
   *
   * @param segment the storage; its base needs no alignment
   * @param index element index from the start of the segment
   * @param value the value; integer types truncate towards zero
   */
  public void set(MemorySegment segment, long index, double value) {
    switch (this) {
      case F32 -> segment.set(ValueLayout.JAVA_FLOAT_UNALIGNED, index << 2, (float) value);
      case F16 -> segment.set(ValueLayout.JAVA_SHORT_UNALIGNED, index << 1, float16Bits(value));
      case BF16 ->
          segment.set(ValueLayout.JAVA_SHORT_UNALIGNED, index << 1, (short) bfloat16Bits(value));
      case I32 -> segment.set(ValueLayout.JAVA_INT_UNALIGNED, index << 2, (int) value);
      case U8 -> segment.set(ValueLayout.JAVA_BYTE, index, (byte) (int) value);
    }
  }

  /**
   * Returns the name used in reports and test ids.
   *
   * @return the lower-case name, such as {@code bf16}
   */
  public String text() {
    return name().toLowerCase(Locale.ROOT);
  }

  /**
   * Finds a type by its name.
   *
   * @param text a name in either case, such as {@code bf16}
   * @return the type
   * @throws IllegalArgumentException naming the known types, if there is none of that name
   */
  public static DataType parse(String text) {
    for (DataType type : values()) {
      if (type.name().equalsIgnoreCase(text)) {
        return type;
      }
    }
    throw new IllegalArgumentException(
        "data type: expected one of f32, f16, bf16, i32, u8, but was '" + text + "'");
  }

  /**
   * float64 to float16 with a single rounding. Going through float would round twice: a float64
   * just beside a float16 tie can become that tie in float. Rounding to odd in the first step cures
   * it.
   */
  private static short float16Bits(double value) {
    return Float.floatToFloat16(toFloatRoundingToOdd(value));
  }

  private static int bfloat16Bits(double value) {
    float f = toFloatRoundingToOdd(value);
    int bits = Float.floatToRawIntBits(f);
    if (Float.isNaN(f)) {
      return (bits >>> 16) | 0x40;
    }
    return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
  }

  private static float toFloatRoundingToOdd(double value) {
    float nearest = (float) value;
    if (nearest == value || Float.isNaN(nearest)) {
      return nearest;
    }
    int bits = Float.floatToRawIntBits(nearest);
    if ((bits & 1) != 0) {
      return nearest;
    }
    // The two neighbours of an inexact value differ in their last bit; take the odd one.
    boolean magnitudeRoundedUp = Math.abs((double) nearest) > Math.abs(value);
    return Float.intBitsToFloat(magnitudeRoundedUp ? bits - 1 : bits + 1);
  }
}
