package dev.weft.conformance;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.Stream;
import dev.weft.Tensor;

/**
 * Memory whose rows lie so far apart that the last ones begin beyond 2^32 elements, where neither a
 * signed nor an unsigned offset of 32 bits leads. Tensors of as many rows lie in it side by side,
 * as in a packed one. The suite knows what the first part of each row holds, where the tensors are;
 * the rest is NaN and is not looked at.
 */
final class FarRows {
  /** Fewer are too far apart for some copies of rows. */
  static final long LEAST_ROWS = 8;

  /** Shorter rows are not worth such memory of their own. */
  static final long LEAST_COLUMNS = 64;

  static final long REACH = 1L << 32;

  private static final long KNOWN_ELEMENTS = 1L << 22;
  private static final long ALIGNMENT = 128;

  final Slab slab;
  private final Tensor known;
  private final long rows;
  private long next;

  /**
   * Allocates rows.
   *
   * @param rows at least {@link #LEAST_ROWS}
   * @param reach the elements behind which the last sixteenth of the rows begins, one at least
   */
  FarRows(Device device, DataType type, long rows, long reach) {
    this.rows = rows;
    long before = rows - 1 - rows / 16;
    long pitch = Math.ceilDiv(Math.ceilDiv(reach, before), ALIGNMENT) * ALIGNMENT;
    long width = Math.min(pitch, KNOWN_ELEMENTS / rows / ALIGNMENT * ALIGNMENT);
    Tensor base = device.allocate(type, rows * pitch);
    Stream stream = device.defaultStream();
    stream.fill(base, (byte) 0xff);
    stream.synchronize();
    known = base.reshape(rows, pitch).slice(1, 0, width);
    slab = new Slab(type, base, known);
    next = Slab.guardElements(type);
  }

  /** Whether tensors of a type and a first extent lie here. */
  boolean fit(DataType type, long count) {
    return type == slab.type && count == rows;
  }

  /** Takes the next columns, and a guard band behind them. */
  Tensor take(long columns) {
    long end = next + columns + Slab.guardElements(slab.type);
    if (end > known.size(1)) {
      throw new IllegalStateException(
          columns + " elements behind " + next + " in a row of " + known + " are too many");
    }
    Tensor taken = known.slice(1, next, next + columns);
    next = end;
    return taken;
  }
}
