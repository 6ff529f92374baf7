package dev.weft.backend.cpu.arithmetic;

import dev.weft.DataType;

/** Conversions of single elements. */
final class StorageTypes {
  private StorageTypes() {}

  static float bfloat16(short bits) {
    return Float.intBitsToFloat(bits << 16);
  }

  /** Rounds to nearest even. */
  static short toBfloat16(float value) {
    int bits = Float.floatToRawIntBits(value);
    return Float.isNaN(value)
        ? (short) ((bits >>> 16) | 0x40) // quiet, lest a payload in the lower half become infinity
        : (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
  }

  static IllegalArgumentException notFloating(DataType type) {
    return new IllegalArgumentException("expected a floating type, but was " + type.text());
  }
}
