package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.spi.HostCeilings;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The ceilings of the machine, on the threads and with the arithmetic of the kernels. */
final class MeasuredCeilings implements HostCeilings {
  private static final int SPELLS = 10;
  private static final int ROUNDS = 500_000;

  // Far larger than the caches of any CPU, the last level of all cores together included.
  private static final long COPY_BYTES = 1L << 30;
  private static final long PIECE = 4L << 20;

  private final Compute compute;

  MeasuredCeilings(Compute compute) {
    this.compute = compute;
  }

  @Override
  public double flopsPerSecond() {
    double best = 0;
    for (int spell = 0; spell < SPELLS; spell++) {
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
    try (Arena arena = Arena.ofShared()) {
      MemorySegment source = arena.allocate(COPY_BYTES, 64);
      MemorySegment target = arena.allocate(COPY_BYTES, 64);
      for (int spell = 0; spell < SPELLS; spell++) {
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
}
