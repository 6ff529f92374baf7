package dev.weft.cli;

import dev.weft.conformance.vectors.CaseComparison;
import java.util.Locale;

/** Words and numbers for how near a result is. */
final class Verdicts {
  private Verdicts() {}

  /** The largest error of all outputs, over what is allowed there; above 1 is wrong. */
  static double share(CaseComparison comparison) {
    return comparison.outputs().stream().mapToDouble(CaseComparison.Output::share).max().orElse(0);
  }

  static String percent(double share) {
    return !(share < 100) ? "over 100 x" : String.format(Locale.ROOT, "%.1f %%", share * 100);
  }

  static String count(long n, String thing) {
    return n + " " + thing + (n == 1 ? "" : "s");
  }
}
