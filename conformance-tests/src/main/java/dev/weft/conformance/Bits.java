package dev.weft.conformance;

import dev.weft.DataType;
import dev.weft.HostTensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** The bit patterns that the suite puts where nothing has been written yet. */
final class Bits {
  private Bits() {}

  /** What outputs hold before a launch: a NaN that no arithmetic makes. */
  static long poison(DataType type) {
    return switch (type) {
      case F32 -> 0xffe5a5a5L;
      case F16, BF16 -> 0xffe5L;
      case I32 -> 0xa5a5a5a5L;
      case U8 -> 0xa5L;
    };
  }

  /** What lies around tensors and between their rows: another NaN, or an index far out of range. */
  static long guard(DataType type) {
    return switch (type) {
      case F32 -> 0xffdbdbdbL;
      case F16, BF16 -> 0xffdbL;
      case I32 -> 0x7bdbdbdbL;
      case U8 -> 0xdbL;
    };
  }

  static long get(DataType type, MemorySegment segment, long byteOffset) {
    return switch (type.bytes()) {
      case 1 -> segment.get(ValueLayout.JAVA_BYTE, byteOffset) & 0xffL;
      case 2 -> segment.get(ValueLayout.JAVA_SHORT_UNALIGNED, byteOffset) & 0xffffL;
      default -> segment.get(ValueLayout.JAVA_INT_UNALIGNED, byteOffset) & 0xffffffffL;
    };
  }

  static void set(DataType type, MemorySegment segment, long byteOffset, long bits) {
    switch (type.bytes()) {
      case 1 -> segment.set(ValueLayout.JAVA_BYTE, byteOffset, (byte) bits);
      case 2 -> segment.set(ValueLayout.JAVA_SHORT_UNALIGNED, byteOffset, (short) bits);
      default -> segment.set(ValueLayout.JAVA_INT_UNALIGNED, byteOffset, (int) bits);
    }
  }

  /** The bits of one element of a dense tensor. */
  static long get(HostTensor tensor, long index) {
    DataType type = tensor.dataType();
    return get(type, tensor.segment(), index * type.bytes());
  }

  static void fill(HostTensor tensor, long bits) {
    DataType type = tensor.dataType();
    for (long i = 0; i < tensor.elements(); i++) {
      set(type, tensor.segment(), i * type.bytes(), bits);
    }
  }
}
