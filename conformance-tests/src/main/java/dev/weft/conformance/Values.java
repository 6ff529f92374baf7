package dev.weft.conformance;

import dev.weft.DataType;
import dev.weft.HostTensor;

/** Fills a tensor of a case. Pure: the same generator gives the same values. */
@FunctionalInterface
public interface Values {
  /**
   * Fills a tensor.
   *
   * @param target a zeroed tensor
   * @param draw the generator of the case and the tensor's name
   */
  void fill(HostTensor target, Draw draw);

  /** One element as a function of its row-major index. */
  @FunctionalInterface
  interface Element {
    /**
     * Computes an element.
     *
     * @param draw the generator
     * @param index row-major index
     * @return the element, rounded on storing
     */
    double at(Draw draw, long index);
  }

  /**
   * Fills element by element.
   *
   * @param element the function
   * @return the values
   */
  static Values each(Element element) {
    return (target, draw) -> {
      for (long i = 0; i < target.elements(); i++) {
        target.set(i, element.at(draw, i));
      }
    };
  }

  /**
   * Normal numbers.
   *
   * @param scale their standard deviation
   * @return the values
   */
  static Values normal(double scale) {
    return each((draw, i) -> scale * draw.normal(i));
  }

  /**
   * Uniform numbers.
   *
   * @param low the smallest
   * @param high the largest
   * @return the values
   */
  static Values uniform(double low, double high) {
    return each((draw, i) -> low + (high - low) * draw.uniform(i));
  }

  /**
   * Multiples of 1/4 from -1 to 1. A product of two is a multiple of 1/16, so a sum of up to 2^17
   * products is exact in F32 in any order.
   *
   * @return the values
   */
  static Values dyadic() {
    return each((draw, i) -> (draw.below(i, 9) - 4) / 4.0);
  }

  /**
   * Powers of two, 1/4 to 2.
   *
   * @return the values
   */
  static Values powersOfTwo() {
    return each((draw, i) -> Math.scalb(1.0, draw.below(i, 4) - 2));
  }

  /**
   * Numbers that encode their index in 7 bits, exact in every floating type: neighbours in a row
   * and in a column differ.
   *
   * @return the values
   */
  static Values ramp() {
    return (target, draw) -> {
      long[] shape = target.shape();
      long columns = shape.length == 0 ? 1 : Math.max(1, shape[shape.length - 1]);
      for (long i = 0; i < target.elements(); i++) {
        long code = (i / columns * 29 + i % columns * 5) % 127;
        target.set(i, (code - 63) / 64.0);
      }
    };
  }

  /**
   * One of -1/2, 0 and 1/2, the same along the last dimension: whole rows are equal.
   *
   * @return the values
   */
  static Values ties() {
    return (target, draw) -> {
      long[] shape = target.shape();
      long columns = shape.length == 0 ? 1 : Math.max(1, shape[shape.length - 1]);
      for (long i = 0; i < target.elements(); i++) {
        target.set(i, (draw.below(i / columns, 3) - 1) / 2.0);
      }
    };
  }

  /**
   * Small magnitudes: normal numbers times 2^-10 to 2^-20, some of them subnormal in F16.
   *
   * @return the values
   */
  static Values tiny() {
    return each(
        (draw, i) -> Math.scalb(draw.normal(i), -10 - (int) (draw.bits(i ^ 0x55555555L) & 7)));
  }

  /**
   * The same number everywhere.
   *
   * @param value the number
   * @return the values
   */
  static Values constant(double value) {
    return each((draw, i) -> value);
  }

  /**
   * Given numbers.
   *
   * @param values row-major, one for each element
   * @return the values
   */
  static Values of(double... values) {
    double[] copy = values.clone();
    return (target, draw) -> {
      if (target.elements() != copy.length) {
        throw new IllegalArgumentException(
            "values: " + target + " needs " + target.elements() + ", but got " + copy.length);
      }
      for (int i = 0; i < copy.length; i++) {
        target.set(i, copy[i]);
      }
    };
  }

  /**
   * Replaces rows.
   *
   * @param from first row of dimension 0
   * @param to one past the last
   * @param value what their elements become, such as NaN
   * @return these values with the rows replaced
   */
  default Values rows(long from, long to, double value) {
    return (target, draw) -> {
      fill(target, draw);
      long[] shape = target.shape();
      long row = shape[0] == 0 ? 0 : target.elements() / shape[0];
      for (long i = from * row; i < Math.min(to * row, target.elements()); i++) {
        target.set(i, value);
      }
    };
  }

  /**
   * Multiplies, before rounding to storage.
   *
   * @param factor the factor
   * @return these values times the factor
   */
  default Values times(double factor) {
    return (target, draw) -> {
      HostTensor exact = HostTensor.allocate(DataType.F32, target.shape());
      fill(exact, draw);
      for (long i = 0; i < target.elements(); i++) {
        target.set(i, exact.get(i) * factor);
      }
    };
  }
}
