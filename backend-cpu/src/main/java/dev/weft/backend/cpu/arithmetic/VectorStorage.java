package dev.weft.backend.cpu.arithmetic;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_SHORT_UNALIGNED;

import dev.weft.DataType;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * Vectors of floats from and to the types that memory holds; {@link StorageTypes} has the same for
 * single elements. Each loop has a method of its own: C2 stops inlining in larger ones, and each
 * vector becomes an object.
 */
final class VectorStorage {
  private static final VectorSpecies<Float> FLOATS = FloatVector.SPECIES_PREFERRED;
  private static final VectorSpecies<Integer> INTS =
      VectorSpecies.of(int.class, FLOATS.vectorShape());
  private static final VectorSpecies<Short> SHORTS =
      VectorSpecies.of(short.class, VectorShape.forBitSize(FLOATS.vectorBitSize() / 2));
  private static final int LENGTH = FLOATS.length();
  private static final ByteOrder ORDER = ByteOrder.nativeOrder();

  private VectorStorage() {}

  static void read(
      DataType type, MemorySegment from, long offset, float[] into, int at, int count) {
    switch (type) {
      case F32 ->
          MemorySegment.copy(from, JAVA_FLOAT_UNALIGNED, count == 0 ? 0 : offset, into, at, count);
      case BF16 -> readBfloat16(from, offset, into, at, count);
      case F16 -> readFloat16(from, offset, into, at, count);
      default -> throw StorageTypes.notFloating(type);
    }
  }

  private static void readBfloat16(
      MemorySegment from, long offset, float[] into, int at, int count) {
    int i = 0;
    for (; i <= count - LENGTH; i += LENGTH) {
      bfloat16(from, offset + 2L * i).intoArray(into, at + i);
    }
    for (; i < count; i++) {
      into[at + i] = StorageTypes.bfloat16(from.get(JAVA_SHORT_UNALIGNED, offset + 2L * i));
    }
  }

  private static void readFloat16(
      MemorySegment from, long offset, float[] into, int at, int count) {
    int i = 0;
    for (; i <= count - LENGTH; i += LENGTH) {
      float16(from, offset + 2L * i).intoArray(into, at + i);
    }
    for (; i < count; i++) {
      into[at + i] = Float.float16ToFloat(from.get(JAVA_SHORT_UNALIGNED, offset + 2L * i));
    }
  }

  static FloatVector bfloat16(MemorySegment from, long offset) {
    IntVector bits =
        (IntVector)
            ShortVector.fromMemorySegment(SHORTS, from, offset, ORDER)
                .convertShape(VectorOperators.S2I, INTS, 0);
    return bits.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
  }

  /** Moves exponent and fraction into a float's place; the factor mends the bias, exactly. */
  private static FloatVector float16(MemorySegment from, long offset) {
    IntVector half =
        (IntVector)
            ShortVector.fromMemorySegment(SHORTS, from, offset, ORDER)
                .convertShape(VectorOperators.S2I, INTS, 0);
    IntVector magnitude = half.and(0x7fff).lanewise(VectorOperators.LSHL, 13);
    IntVector finite = magnitude.reinterpretAsFloats().mul(0x1p112f).reinterpretAsInts();
    VectorMask<Integer> special = magnitude.compare(VectorOperators.GE, 0x7c00 << 13);
    IntVector bits = finite.blend(magnitude.or(0x7f800000), special);
    return bits.or(half.and(0x8000).lanewise(VectorOperators.LSHL, 16)).reinterpretAsFloats();
  }

  static void write(
      DataType type, float[] from, int at, MemorySegment into, long offset, int count) {
    switch (type) {
      case F32 ->
          MemorySegment.copy(from, at, into, JAVA_FLOAT_UNALIGNED, count == 0 ? 0 : offset, count);
      case BF16 -> writeBfloat16(from, at, into, offset, count);
      case F16 -> {
        for (int i = 0; i < count; i++) {
          into.set(JAVA_SHORT_UNALIGNED, offset + 2L * i, Float.floatToFloat16(from[at + i]));
        }
      }
      default -> throw StorageTypes.notFloating(type);
    }
  }

  static ShortVector toBfloat16(FloatVector value) {
    IntVector bits = value.reinterpretAsInts();
    IntVector upper = bits.lanewise(VectorOperators.LSHR, 16);
    IntVector rounded = bits.add(upper.and(1)).add(0x7fff).lanewise(VectorOperators.LSHR, 16);
    // Quiet, lest a payload in the lower half become infinity.
    VectorMask<Integer> isNan = value.compare(VectorOperators.NE, value).cast(INTS);
    IntVector stored = rounded.blend(upper.or(0x40), isNan);
    return (ShortVector) stored.convertShape(VectorOperators.I2S, SHORTS, 0);
  }

  private static void writeBfloat16(
      float[] from, int at, MemorySegment into, long offset, int count) {
    int i = 0;
    for (; i <= count - LENGTH; i += LENGTH) {
      toBfloat16(FloatVector.fromArray(FLOATS, from, at + i))
          .intoMemorySegment(into, offset + 2L * i, ORDER);
    }
    for (; i < count; i++) {
      into.set(JAVA_SHORT_UNALIGNED, offset + 2L * i, StorageTypes.toBfloat16(from[at + i]));
    }
  }
}
