package dev.weft.backend.cpu.reference;

import dev.weft.DataType;
import dev.weft.spi.Expected;

/**
 * The constants of the tolerance law: what an honest implementation may lose in one rounding to a
 * storage type, in a sum and in an elementary function.
 *
 * <p>For a sum of n products the elementwise bound grows by {@code g(n) * sum |a b|}; the normwise
 * one by {@code gRms(n) * sqrt(sum (a b)^2)}, every other sum of error terms turning into a
 * root-sum-square. {@link StageSum} does both.
 */
final class ToleranceLaw {
  /** What a function in F32 may lose, relative to its value. */
  static final double FUNCTION = 0x1p-20;

  /**
   * What an intermediate in F32 may lose where it is below the normal numbers: devices may take
   * those for 0, and many do.
   */
  static final double FLUSHED = 0x1p-126;

  private final double us;
  private final double ms;
  private final double up;
  private final double mp;

  private ToleranceLaw(double us, double ms, double up, double mp) {
    this.us = us;
    this.ms = ms;
    this.up = up;
    this.mp = mp;
  }

  /**
   * The law for tensors of a type.
   *
   * @param storage F32, F16 or BF16
   */
  static ToleranceLaw of(DataType storage) {
    return switch (storage) {
      case F32 -> new ToleranceLaw(0x1p-24, 0x1p-126, 0, FLUSHED);
      case F16 -> new ToleranceLaw(0x1p-11, 0x1p-24, 0x1p-11, 0x1p-25);
      case BF16 -> new ToleranceLaw(0x1p-8, 0x1p-126, 0x1p-8, FLUSHED);
      case I32, U8 -> throw new IllegalArgumentException("no tolerance for " + storage);
    };
  }

  /** u_s, the relative loss of storing an output. */
  double us() {
    return us;
  }

  /** m_s, the absolute loss of storing an output. */
  double ms() {
    return ms;
  }

  /** u_p, the relative loss of an intermediate that may be rounded; 0 for F32. */
  double up() {
    return up;
  }

  /** m_p, the absolute loss of an intermediate that may be rounded, or flushed to 0. */
  double mp() {
    return mp;
  }

  /** What storing an output of this value may lose. */
  double stored(double value) {
    return us * Math.abs(value) + ms;
  }

  /** What rounding an intermediate of this value may lose, where section 0 allows it. */
  double rounded(double value) {
    return up * Math.abs(value) + mp;
  }

  /** g(n): what a sum of n terms may lose, relative to the sum of their magnitudes. */
  static double g(double n) {
    return (8 + 4 * Math.sqrt(n)) * 0x1p-24;
  }

  /** g(n) of the normwise law, relative to the root of the sum of their squares. */
  static double gRms(double n) {
    return (2 + Math.sqrt(n)) * 0x1p-24;
  }

  /** e(x): what exp(x) may lose, relative to its value. */
  static double e(double x) {
    return (4 + 2 * Math.abs(x)) * 0x1p-23;
  }

  /**
   * An output from values and the bounds that its stages gave, storing not yet counted.
   *
   * <p>Where the value is NaN or infinite that is what a backend must give (a bound of 0); where
   * the bound is NaN although the value is not, anything but NaN goes (a bound of infinity). The
   * caller marks unwritten elements afterwards.
   *
   * @param value the values; kept
   * @param error elementwise bounds; kept and changed
   * @param rms normwise terms; kept and changed
   */
  Expected output(double[] value, double[] error, double[] rms) {
    for (int i = 0; i < value.length; i++) {
      if (Double.isFinite(value[i])) {
        double storing = stored(value[i]);
        error[i] = orInfinity(error[i] + storing);
        rms[i] = orInfinity(rms[i] + storing);
      } else {
        error[i] = 0;
        rms[i] = 0;
      }
    }
    return new Expected(value, error, rms);
  }

  private static double orInfinity(double bound) {
    return Double.isNaN(bound) ? Double.POSITIVE_INFINITY : bound;
  }
}
