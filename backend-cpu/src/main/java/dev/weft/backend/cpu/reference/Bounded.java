package dev.weft.backend.cpu.reference;

/**
 * A vector of float64 values, each with the elementwise and the normwise error that an honest
 * implementation may have made on the way to it.
 */
final class Bounded {
  final double[] value;
  final double[] error;
  final double[] rms;

  Bounded(int size) {
    value = new double[size];
    error = new double[size];
    rms = new double[size];
  }

  /** Values known exactly. */
  static Bounded exact(double[] values) {
    Bounded exact = new Bounded(values.length);
    System.arraycopy(values, 0, exact.value, 0, values.length);
    return exact;
  }

  int size() {
    return value.length;
  }

  void set(int i, StageSum sum) {
    set(i, sum.value(), sum.error(), sum.rms());
  }

  void set(int i, double newValue, double newError, double newRms) {
    value[i] = newValue;
    error[i] = newError;
    rms[i] = newRms;
  }

  /** Adds an element times an exact factor to a sum. */
  void addTo(StageSum sum, int i, double factor) {
    sum.add(value[i], error[i], rms[i], factor);
  }

  /** Adds the product of two elements to a sum. */
  void addTo(StageSum sum, int i, Bounded other, int j) {
    sum.add(value[i], error[i], rms[i], other.value[j], other.error[j], other.rms[j]);
  }

  /** Counts one rounding of every element to a storage type, where the contract allows one. */
  Bounded rounded(ToleranceLaw law) {
    for (int i = 0; i < value.length; i++) {
      double rounding = law.rounded(value[i]);
      error[i] += rounding;
      rms[i] += rounding;
    }
    return this;
  }
}
