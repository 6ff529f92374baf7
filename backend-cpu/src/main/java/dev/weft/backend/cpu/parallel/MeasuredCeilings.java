package dev.weft.backend.cpu.parallel;

import dev.weft.DataType;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import dev.weft.spi.HostCeilings;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The ceilings of the machine, on the threads and with the arithmetic of the kernels. */
final class MeasuredCeilings implements HostCeilings {
  private static final int SPELLS = 10;

  // Spells go on for so long at least: the first ones are not compiled yet.
  private static final long LEAST_NANOS = 1_000_000_000;
  // About 10 ms: far longer than it takes all threads to begin.
  private static final int ROUNDS = 4_000_000;

  // Far larger than the caches of any CPU, the last level of all cores together included.
  private static final long COPY_BYTES = 1L << 30;
  private static final long PIECE = 4L << 20;

  // Columns of the rows that are read: as long as a row of weights.
  private static final int READ_ROW = 2048;

  private static final int CONVOLUTIONS = 5_000;

  private final Compute compute;

  MeasuredCeilings(Compute compute) {
    this.compute = compute;
  }

  private static boolean goesOn(int spell, long begun) {
    return spell < SPELLS || System.nanoTime() - begun < LEAST_NANOS;
  }

  @Override
  public double flopsPerSecond() {
    double best = 0;
    long begun = System.nanoTime();
    for (int spell = 0; goesOn(spell, begun); spell++) {
      long[] done = new long[compute.threads()];
      long start = System.nanoTime();
      compute.run(
          done.length,
          (task, scratch) ->
              done[task] =
                  compute.arithmetic().multiplyAdds(ROUNDS, scratch.floats(0, Arithmetic.LANES)));
      double seconds = (System.nanoTime() - start) / 1e9;
      long total = 0;
      for (long flops : done) {
        total += flops;
      }
      best = Math.max(best, total / seconds);
    }
    return best;
  }

  @Override
  public double copyBytesPerSecond() {
    double best = 0;
    long begun = System.nanoTime();
    try (Arena arena = Arena.ofShared()) {
      MemorySegment source = arena.allocate(COPY_BYTES, 64);
      MemorySegment target = arena.allocate(COPY_BYTES, 64);
      for (int spell = 0; goesOn(spell, begun); spell++) {
        long start = System.nanoTime();
        compute.run(
            Math.toIntExact(COPY_BYTES / PIECE),
            (task, scratch) ->
                MemorySegment.copy(source, task * PIECE, target, task * PIECE, PIECE));
        double seconds = (System.nanoTime() - start) / 1e9;
        best = Math.max(best, 2.0 * COPY_BYTES / seconds);
      }
    }
    return best;
  }

  @Override
  public double readBytesPerSecond() {
    double best = 0;
    long begun = System.nanoTime();
    try (Arena arena = Arena.ofShared()) {
      MemorySegment source = arena.allocate(COPY_BYTES, 64);
      int pieces = Math.toIntExact(COPY_BYTES / PIECE);
      // Pages that nobody wrote would all be the same one.
      compute.run(pieces, (task, scratch) -> source.asSlice(task * PIECE, PIECE).fill((byte) task));
      MatrixRows rows = new MatrixRows(DataType.F32, source, 0, 4L * READ_ROW, READ_ROW);
      int rowsPerPiece = Math.toIntExact(PIECE / (4L * READ_ROW));
      for (int spell = 0; goesOn(spell, begun); spell++) {
        long start = System.nanoTime();
        compute.run(
            pieces,
            (task, scratch) ->
                compute
                    .arithmetic()
                    .dots(
                        rows,
                        task * rowsPerPiece,
                        rowsPerPiece,
                        scratch.floats(0, READ_ROW),
                        READ_ROW,
                        1,
                        scratch.floats(1, rowsPerPiece),
                        0,
                        rowsPerPiece,
                        scratch.floats(2, 4 * READ_ROW + Arithmetic.DOT_SLACK)));
        double seconds = (System.nanoTime() - start) / 1e9;
        best = Math.max(best, COPY_BYTES / seconds);
      }
    }
    return best;
  }

  @Override
  public double convolutionsPerSecond() {
    double best = 0;
    long begun = System.nanoTime();
    int rows = 16;
    int channels = 128;
    int width = 4;
    for (int spell = 0; goesOn(spell, begun); spell++) {
      long start = System.nanoTime();
      compute.run(
          compute.threads(),
          (task, scratch) -> {
            float[] in = scratch.floats(0, (rows + width - 1) * channels);
            float[] taps = scratch.floats(1, (width + 1) * channels);
            float[] out = scratch.floats(2, rows * channels);
            for (int round = 0; round < CONVOLUTIONS; round++) {
              compute
                  .arithmetic()
                  .convolve(
                      in, 0, channels, rows, width, channels, taps, 0, channels, true, out, 0,
                      channels);
            }
          });
      double seconds = (System.nanoTime() - start) / 1e9;
      double elements = (double) compute.threads() * CONVOLUTIONS * rows * channels;
      best = Math.max(best, elements / seconds);
    }
    return best;
  }
}
