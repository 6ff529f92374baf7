package dev.weft.spi;

import java.util.Arrays;

/**
 * One output as the oracle computed it: per element (row-major over the output's logical shape) the
 * float64 value before any rounding to storage, and the error that an honest implementation may
 * make. An element that must not be written (a padding row) has a NaN {@code error}.
 *
 * @param value float64 values; may be NaN or infinite where the formula is
 * @param error the elementwise bound E of the tolerance law; 0 means bit for bit, +inf means any
 *     value but NaN is right, NaN means unwritten
 * @param rms the elementwise terms of E2 of the normwise law; empty where that law does not apply
 */
@SuppressWarnings("ArrayRecordComponent") // large, and compared by nobody
public record Expected(double[] value, double[] error, double[] rms) {
  /** Checks that the arrays belong together. */
  public Expected {
    if (value.length != error.length || (rms.length != 0 && rms.length != value.length)) {
      throw new IllegalArgumentException(
          "expected: lengths differ: value "
              + value.length
              + ", error "
              + error.length
              + ", rms "
              + rms.length);
    }
  }

  /**
   * Values that must be matched bit for bit.
   *
   * @param value the values
   * @return them with bounds of 0
   */
  public static Expected exact(double[] value) {
    return new Expected(value, new double[value.length], new double[0]);
  }

  @Override
  public String toString() {
    return "Expected" + Arrays.toString(new int[] {value.length});
  }
}
