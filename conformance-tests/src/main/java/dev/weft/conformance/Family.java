package dev.weft.conformance;

import java.util.Locale;

/** What a case's inputs look like, and so what its results can show. */
public enum Family {
  /** Standard normal numbers. The normwise law applies, besides the elementwise one. */
  RANDOM,
  /** Small dyadic numbers, whose sums are exact in any order: results match bit for bit. */
  EXACT,
  /** Numbers that encode their index, so that a misplaced row or column shows. */
  RAMP,
  /** Few distinct numbers: equal scores everywhere. */
  TIES,
  /** Large magnitudes. */
  LARGE,
  /** Small magnitudes, down to subnormals. */
  TINY,
  /** Shapes, routing or content made to break kernels; the values are the case's own. */
  ADVERSARIAL;

  /**
   * Returns the name used in case ids.
   *
   * @return lower case
   */
  public String text() {
    return name().toLowerCase(Locale.ROOT);
  }

  /**
   * Returns what a tensor of such a case holds unless the case says otherwise.
   *
   * @return the values
   */
  public Values draws() {
    return switch (this) {
      case RANDOM, ADVERSARIAL -> Values.normal(1);
      case EXACT -> Values.dyadic();
      case RAMP -> Values.ramp();
      case TIES -> Values.ties();
      case LARGE -> Values.normal(64);
      case TINY -> Values.tiny();
    };
  }
}
