package dev.weft.backend.cpu.arithmetic;

import dev.weft.DataType;
import java.lang.foreign.MemorySegment;

/**
 * Rows of equal length in memory, each contiguous: a matrix, or rows that lie evenly apart in a
 * tensor of higher rank.
 *
 * @param type F32, F16 or BF16
 * @param segment the memory
 * @param start where row 0 starts, in bytes
 * @param pitch from a row to the next, in bytes
 * @param length elements of a row
 */
public record MatrixRows(DataType type, MemorySegment segment, long start, long pitch, int length) {
  /**
   * Finds an element.
   *
   * @param row its row
   * @param column its column
   * @return bytes from the start of the segment
   */
  public long offset(long row, int column) {
    return start + row * pitch + (long) column * type.bytes();
  }
}
