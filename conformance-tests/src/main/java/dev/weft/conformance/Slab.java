package dev.weft.conformance;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * One allocation on the device under test: tensors of a case, with guard bands around them, and
 * what every byte of it is known to hold.
 */
final class Slab {
  /** Before and after the data: more than a vector, a tile row or a cache line. */
  static final int GUARD_BYTES = 256;

  final DataType type;
  final Tensor base;
  // The part of it that the suite knows: all of it, or the first columns of its rows.
  private final Tensor known;
  final List<Operand> operands = new ArrayList<>();
  // The content before and after the last launch.
  HostTensor before;
  HostTensor content;

  Slab(Device device, DataType type, long elements) {
    this(type, device.allocate(type, elements));
  }

  private Slab(DataType type, Tensor base) {
    this(type, base, base);
  }

  Slab(DataType type, Tensor base, Tensor known) {
    this.type = type;
    this.base = base;
    this.known = known;
    this.content = HostTensor.allocate(type, known.shape());
    Bits.fill(content, Bits.guard(type));
    this.before = content;
  }

  static long guardElements(DataType type) {
    return GUARD_BYTES / type.bytes();
  }

  /** Where a byte of the memory is in the content. */
  long contentOffset(long byteOffset) {
    if (known.rank() == 1) {
      return byteOffset;
    }
    long pitch = known.stride(0) * type.bytes();
    return byteOffset / pitch * known.size(1) * type.bytes() + byteOffset % pitch;
  }

  /** Puts the known content on the device, and waits: bodies may use any stream. */
  void upload(Stream stream) {
    stream.upload(content, known);
    stream.synchronize();
  }

  /** Gives one of the tensors other elements, for the next upload. */
  void overwrite(Operand operand, HostTensor values) {
    HostTensor changed = HostTensor.allocate(type, content.shape());
    changed.segment().copyFrom(content.segment());
    operand.scatter(values, changed);
    content = changed;
  }

  /** Puts back what was there before the last launch. */
  void restore(Stream stream) {
    stream.upload(before, known);
  }

  HostTensor download(Stream stream) {
    HostTensor now = HostTensor.allocate(type, known.shape());
    stream.download(known, now);
    stream.synchronize();
    return now;
  }

  /** Takes over what the last launch left, and says what it may not have written. */
  void accept(HostTensor now, String when) {
    HostTensor allowed = HostTensor.allocate(type, known.shape());
    MemorySegment segment = allowed.segment();
    segment.copyFrom(content.segment());
    for (Operand operand : operands) {
      if (operand.isWritten()) {
        for (long offset : operand.offsets()) {
          Bits.set(type, segment, offset, Bits.get(type, now.segment(), offset));
        }
      }
    }
    long at = segment.mismatch(now.segment());
    if (at >= 0) {
      throw new ConformanceFailure(when + ": " + whereWritten(at, now));
    }
    before = content;
    content = now;
  }

  private String whereWritten(long at, HostTensor now) {
    long element = at / type.bytes();
    String bits =
        " (bits 0x"
            + Long.toHexString(Bits.get(content, element))
            + " became 0x"
            + Long.toHexString(Bits.get(now, element))
            + ')';
    long offset = element * type.bytes();
    Operand nearest = operands.getFirst();
    long distance = Long.MAX_VALUE;
    for (Operand operand : operands) {
      long[] offsets = operand.offsets();
      for (int i = 0; i < offsets.length; i++) {
        if (offsets[i] == offset) {
          return "input " + operand.name() + " was modified at " + operand.index(i) + bits;
        }
        long d = Math.abs(offsets[i] - offset);
        if (d < distance) {
          distance = d;
          nearest = operand;
        }
      }
    }
    return "wrote outside of "
        + nearest.name()
        + ", "
        + distance / type.bytes()
        + " elements from it, in a guard band or between rows"
        + bits;
  }
}
