package dev.weft.backend.cpu.arithmetic;

/** The exponential of single floats, and the polynomial that vectors use too. */
final class ScalarExponential {
  static final float LOG2_E = 0x1.715476p0f;
  // ln 2 in two parts: the higher has few bits, so that its multiples are exact.
  static final float LN2_HIGH = 0x1.63p-1f;
  static final float LN2_LOW = -0x1.bd0106p-13f;
  // 1/n!, changed a little so that the error is spread over |r| <= ln 2 / 2.
  static final float C2 = 0.5f;
  static final float C3 = 0.16666518f;
  static final float C4 = 0.04166685f;
  static final float C5 = 0.00836889f;
  static final float C6 = 0.00138992f;

  private ScalarExponential() {}

  /** In float64, then rounded. */
  static float of(float x) {
    return (float) Math.exp(x);
  }
}
