package dev.weft.conformance.moba;

import dev.weft.conformance.CaseContext;
import dev.weft.conformance.Operand;
import dev.weft.spi.Expected;
import java.util.Arrays;

/** Checks that several MoBA launches share. */
final class MobaChecks {
  private MobaChecks() {}

  /** A selection [T, H, topK-1] has been written for the first tokens, and not beyond. */
  static void written(CaseContext c, Operand selection, int tokens) {
    long[] shape = selection.shape();
    int width = Math.toIntExact(shape[1] * shape[2]);
    double[] error = new double[Math.toIntExact(shape[0]) * width];
    Arrays.fill(error, 0, tokens * width, Double.POSITIVE_INFINITY);
    Arrays.fill(error, tokens * width, error.length, Double.NaN);
    c.check(selection, new Expected(new double[error.length], error, new double[0]));
  }
}
