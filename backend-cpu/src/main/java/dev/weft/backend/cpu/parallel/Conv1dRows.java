package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import dev.weft.backend.cpu.host.Elements;

/** The tokens of one sequence in a tensor, packed [T, C] or of equal lengths [B, L, C]. */
final class Conv1dRows {
  private final Arithmetic arithmetic;
  private final MatrixRows rows;

  /**
   * Finds a sequence.
   *
   * @param b its number
   * @param start its first row, if packed
   */
  Conv1dRows(Arithmetic arithmetic, Elements tensor, long b, long start) {
    this.arithmetic = arithmetic;
    boolean packed = tensor.rank() == 2;
    long bytes = tensor.dataType().bytes();
    rows =
        new MatrixRows(
            tensor.dataType(),
            tensor.segment(),
            packed ? tensor.byteOffset(start) : tensor.byteOffset(b),
            tensor.stride(packed ? 0 : 1) * bytes,
            Math.toIntExact(tensor.size(tensor.rank() - 1)));
  }

  MatrixRows matrix() {
    return rows;
  }

  void read(long t, int from, int channels, float[] into, int at) {
    arithmetic.read(rows.type(), rows.segment(), rows.offset(t, from), into, at, channels);
  }

  void write(long t, int from, int channels, float[] values, int at) {
    arithmetic.write(rows.type(), values, at, rows.segment(), rows.offset(t, from), channels);
  }
}
