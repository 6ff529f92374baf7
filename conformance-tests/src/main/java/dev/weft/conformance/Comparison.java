package dev.weft.conformance;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.spi.Expected;
import java.util.Arrays;
import java.util.Optional;
import java.util.StringJoiner;

/**
 * The tolerance law, applied to one output: elementwise |got - want| <= E, bit for bit where E is 0
 * or exactness is asked for, anything but NaN where E is infinite, untouched where E is NaN; and,
 * for the random family, normwise ||got - want|| <= ||E2||.
 *
 * @param fault what is wrong; empty if nothing
 * @param worst the largest error over its bound, of any element or of the norm; 0 where all is
 *     exact
 */
record Comparison(Optional<String> fault, double worst) {

  /**
   * Compares.
   *
   * @param name the output's name
   * @param got what the launch left
   * @param before what was there before it
   * @param expected what the oracle says
   * @param exact whether errors that the oracle would allow are faults
   * @param normwise whether the normwise law applies
   */
  static Comparison of(
      String name,
      HostTensor got,
      HostTensor before,
      Expected expected,
      boolean exact,
      boolean normwise) {
    int n = Math.toIntExact(got.elements());
    if (expected.value().length != n) {
      throw new IllegalStateException(
          name + ": the oracle gave " + expected.value().length + " values for " + got);
    }
    Faults faults = new Faults(name, got, n);
    double worst = 0;
    double squares = 0;
    double allowedSquares = 0;
    boolean norm = normwise && expected.rms().length == n;
    for (int i = 0; i < n; i++) {
      double error = expected.error()[i];
      double want = expected.value()[i];
      double value = got.get(i);
      long bits = Bits.get(got, i);
      if (Double.isNaN(error)) {
        if (bits != Bits.get(before, i)) {
          faults.add(i, value, "no write (padding)", Double.POSITIVE_INFINITY);
        }
        continue;
      }
      if (bits == Bits.poison(got.dataType()) && bits == Bits.get(before, i)) {
        faults.add(
            i, value, want + ", but the element was never written", Double.POSITIVE_INFINITY);
        continue;
      }
      if (error == Double.POSITIVE_INFINITY) {
        if (Double.isNaN(value)) {
          faults.add(i, value, "any number but NaN", Double.MAX_VALUE);
        }
        continue;
      }
      if (exact || error == 0 || !got.dataType().isFloating()) {
        double rounded = got.dataType().round(want);
        if (!(value == rounded || (Double.isNaN(value) && Double.isNaN(rounded)))) {
          faults.add(i, value, rounded + " exactly", excess(value - rounded, 0));
        }
        continue;
      }
      if (!Double.isFinite(want) || !Double.isFinite(value)) {
        if (!agreeBeyondRange(got.dataType(), value, want, error)) {
          faults.add(i, value, want + ", allowed +-" + text(error), Double.MAX_VALUE);
        }
        continue;
      }
      double distance = Math.abs(value - want);
      worst = Math.max(worst, distance / error);
      if (!(distance <= error)) {
        faults.add(i, value, text(want) + ", allowed +-" + text(error), excess(distance, error));
      }
      if (norm) {
        squares += distance * distance;
        allowedSquares += expected.rms()[i] * expected.rms()[i];
      }
    }
    if (faults.count > 0) {
      return new Comparison(Optional.of(faults.message()), worst);
    }
    if (norm && squares > 0) {
      double ratio = Math.sqrt(squares) / Math.sqrt(allowedSquares);
      worst = Math.max(worst, ratio);
      if (!(squares <= allowedSquares)) {
        return new Comparison(
            Optional.of(
                name
                    + ": every element is within its bound, but the normwise error "
                    + text(Math.sqrt(squares))
                    + " is "
                    + text(ratio)
                    + " times the allowed "
                    + text(Math.sqrt(allowedSquares))
                    + ": is a product or sum rounded that may not be (TF32, bf16)?"),
            worst);
      }
    }
    return new Comparison(Optional.empty(), worst);
  }

  /** Compares bits, NaN payloads and signs of zero included. */
  static Comparison bits(String name, HostTensor got, HostTensor want) {
    Faults faults = new Faults(name, got, Math.toIntExact(got.elements()));
    for (int i = 0; i < faults.elements; i++) {
      if (Bits.get(got, i) != Bits.get(want, i)) {
        faults.add(
            i,
            got.get(i),
            want.get(i)
                + " with bits 0x"
                + Long.toHexString(Bits.get(want, i))
                + ", not 0x"
                + Long.toHexString(Bits.get(got, i)),
            excess(got.get(i) - want.get(i), 0));
      }
    }
    return new Comparison(faults.count == 0 ? Optional.empty() : Optional.of(faults.message()), 0);
  }

  static long[] unravel(long i, long[] shape) {
    long[] index = new long[shape.length];
    long rest = i;
    for (int d = shape.length - 1; d >= 0; d--) {
      index[d] = rest % shape[d];
      rest /= shape[d];
    }
    return index;
  }

  /** An infinity is right where it is wanted, or where the bound reaches past the type's range. */
  private static boolean agreeBeyondRange(DataType type, double value, double want, double error) {
    if (Double.isNaN(want) || Double.isNaN(value)) {
      return Double.isNaN(want) && Double.isNaN(value);
    }
    if (Double.isInfinite(want)) {
      return value == want;
    }
    double reach = want + Math.copySign(error, value);
    return Math.signum(reach) == Math.signum(value) && Double.isInfinite(type.round(reach));
  }

  private static double excess(double distance, double error) {
    return Double.isNaN(distance) ? Double.MAX_VALUE : Math.abs(distance) - error;
  }

  private static String text(double value) {
    return Double.isNaN(value) || Double.isInfinite(value) || value == 0
        ? Double.toString(value)
        : String.format(java.util.Locale.ROOT, "%.6g", value);
  }

  /** Counts faults, keeps the worst, and what all of them have in common. */
  private static final class Faults {
    private final String name;
    private final long[] shape;
    private final int elements;
    private long @org.jspecify.annotations.Nullable [] common;
    private int count;
    private double worstExcess = -1;
    private String worst = "";

    Faults(String name, HostTensor got, int elements) {
      this.name = name;
      this.shape = got.shape();
      this.elements = elements;
    }

    void add(int i, double got, String expected, double excess) {
      count++;
      long[] index = unravel(i, shape);
      long[] shared = common;
      if (shared == null) {
        common = index.clone();
      } else {
        for (int d = 0; d < index.length; d++) {
          if (shared[d] != index[d]) {
            shared[d] = -1;
          }
        }
      }
      if (excess > worstExcess) {
        worstExcess = excess;
        worst = "worst at " + Arrays.toString(index) + ": got " + got + ", expected " + expected;
      }
    }

    String message() {
      StringJoiner where = new StringJoiner(", ", "; all at ", "");
      long[] shared = common;
      boolean pattern = false;
      for (int d = 0; shared != null && count > 1 && d < shared.length; d++) {
        if (shared[d] >= 0 && shape[d] > 1) {
          where.add("index " + shared[d] + " of dimension " + d);
          pattern = true;
        }
      }
      return name
          + ": "
          + count
          + " of "
          + elements
          + " elements beyond the bound, "
          + worst
          + (pattern ? where : "");
    }
  }
}
