package dev.weft.backend.cpu.reference;

/**
 * A sum of products with its error by the stage rule of the tolerance law: {@code E(sum a b) =
 * sum(|a| E(b) + |b| E(a) + E(a) E(b)) + g(n) sum |a b|}, and the same root-sum-square for the
 * normwise law. One object serves many sums; {@link #clear} starts the next. Not thread-safe.
 */
final class StageSum {
  private double value;
  private double errors;
  private double squaredErrors;
  private double magnitude;
  private double squares;
  private long terms;

  /** Starts a new sum. */
  StageSum clear() {
    value = 0;
    errors = 0;
    squaredErrors = 0;
    magnitude = 0;
    squares = 0;
    terms = 0;
    return this;
  }

  /** Adds a * b, both known exactly. */
  void add(double a, double b) {
    double product = a * b;
    value += product;
    magnitude += Math.abs(product);
    squares += product * product;
    terms++;
  }

  /**
   * Adds a * b.
   *
   * @param a a factor
   * @param errorA its elementwise bound
   * @param rmsA its normwise term
   * @param b the other factor, known exactly
   */
  void add(double a, double errorA, double rmsA, double b) {
    add(a, b);
    error(Math.abs(b) * errorA, Math.abs(b) * rmsA);
  }

  /**
   * Adds a * b.
   *
   * @param a a factor
   * @param errorA its elementwise bound
   * @param rmsA its normwise term
   * @param b the other factor
   * @param errorB its elementwise bound
   * @param rmsB its normwise term
   */
  void add(double a, double errorA, double rmsA, double b, double errorB, double rmsB) {
    add(a, b);
    error(
        Math.abs(a) * errorB + Math.abs(b) * errorA + errorA * errorB,
        Math.abs(a) * rmsB + Math.abs(b) * rmsA + rmsA * rmsB);
  }

  /** Adds to the error alone: what one term may lose for a reason of its own. */
  void error(double error, double rms) {
    errors += error;
    squaredErrors += rms * rms;
  }

  /** Returns the sum. */
  double value() {
    return value;
  }

  /** Returns the number of terms. */
  long terms() {
    return terms;
  }

  /** Returns the sum of the terms' magnitudes. */
  double magnitude() {
    return magnitude;
  }

  /** Returns the elementwise bound. */
  double error() {
    return terms == 0 ? errors : errors + ToleranceLaw.g((double) terms) * magnitude;
  }

  /** Returns the normwise term. */
  double rms() {
    double errorNorm = Math.sqrt(squaredErrors);
    return terms == 0
        ? errorNorm
        : errorNorm + ToleranceLaw.gRms((double) terms) * Math.sqrt(squares);
  }
}
