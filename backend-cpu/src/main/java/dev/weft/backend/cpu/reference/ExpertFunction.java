package dev.weft.backend.cpu.reference;

import dev.weft.moe.ExpertActivation;
import dev.weft.moe.MoeDispatchSpec;

/**
 * What lies between an expert's projections, as a function f(g, u) of one gate and one up value,
 * with its derivatives; float64. Immutable.
 */
final class ExpertFunction {
  private static final double SQRT_HALF = Math.sqrt(0.5);
  private static final double SQRT_PI = Math.sqrt(Math.PI);
  private static final double SQRT_TWO_OVER_PI = Math.sqrt(2 / Math.PI);
  private static final double CUBIC = 0.044715;

  private final ExpertActivation activation;
  private final double alpha;
  private final double limit;

  /**
   * Takes the function that a spec asks for.
   *
   * @param spec the spec
   */
  public ExpertFunction(MoeDispatchSpec spec) {
    this.activation = spec.activation();
    this.alpha = spec.swigluAlpha();
    this.limit = spec.swigluLimit();
  }

  /**
   * Tells whether the gate matters.
   *
   * @return false for RELU2
   */
  public boolean isGated() {
    return activation.isGated();
  }

  /**
   * Computes f.
   *
   * @param g the gate; anything where there is none
   * @param u the up projection
   * @return f(g, u)
   */
  public double value(double g, double u) {
    return switch (activation) {
      case SWIGLU -> g * sigmoid(g) * u;
      case SWIGLU_CLAMPED -> {
        double clamped = Math.min(g, limit);
        yield clamped * sigmoid(alpha * clamped) * (clampUp(u) + 1);
      }
      case GEGLU -> g * normalCdf(g) * u;
      case GEGLU_TANH -> g * sigmoid(2 * cubic(g)) * u; // (1 + tanh y) / 2 is sigmoid(2 y)
      case RELU2 -> Math.max(u, 0) * Math.max(u, 0);
    };
  }

  /**
   * Computes the derivative by the gate.
   *
   * @param g the gate
   * @param u the up projection
   * @return df/dg; 0 where there is no gate
   */
  public double byGate(double g, double u) {
    return gateTerm1(g, u) + gateTerm2(g, u);
  }

  /**
   * Computes the derivative by the up projection.
   *
   * @param g the gate; anything where there is none
   * @param u the up projection
   * @return df/du
   */
  public double byUp(double g, double u) {
    return switch (activation) {
      case SWIGLU -> g * sigmoid(g);
      case SWIGLU_CLAMPED -> {
        double clamped = Math.min(g, limit);
        yield Math.abs(u) <= limit ? clamped * sigmoid(alpha * clamped) : 0;
      }
      case GEGLU -> g * normalCdf(g);
      case GEGLU_TANH -> g * sigmoid(2 * cubic(g));
      case RELU2 -> 2 * Math.max(u, 0);
    };
  }

  /**
   * The derivative by the gate is a sum of two terms of which one may be negative: what rounding
   * may lose goes by the sum of their magnitudes.
   */
  double byGateMagnitude(double g, double u) {
    return Math.abs(gateTerm1(g, u)) + Math.abs(gateTerm2(g, u));
  }

  /** The derivative by the gate where only the gate itself moves: sigmoid(g) u and its kin. */
  private double gateTerm1(double g, double u) {
    return switch (activation) {
      case SWIGLU -> sigmoid(g) * u;
      case SWIGLU_CLAMPED -> g <= limit ? sigmoid(alpha * g) * (clampUp(u) + 1) : 0;
      case GEGLU -> normalCdf(g) * u;
      case GEGLU_TANH -> sigmoid(2 * cubic(g)) * u;
      case RELU2 -> 0;
    };
  }

  /** The rest: g times the derivative of what the gate is multiplied with. */
  private double gateTerm2(double g, double u) {
    return switch (activation) {
      case SWIGLU -> g * sigmoid(g) * sigmoid(-g) * u;
      case SWIGLU_CLAMPED ->
          g <= limit ? alpha * g * sigmoid(alpha * g) * sigmoid(-alpha * g) * (clampUp(u) + 1) : 0;
      case GEGLU -> g * Math.exp(-0.5 * g * g) / (SQRT_PI / SQRT_HALF) * u;
      case GEGLU_TANH -> {
        double y = 2 * cubic(g);
        double dy = 2 * SQRT_TWO_OVER_PI * (1 + 3 * CUBIC * g * g);
        yield g * sigmoid(y) * sigmoid(-y) * dy * u;
      }
      case RELU2 -> 0;
    };
  }

  private double clampUp(double u) {
    return Math.max(-limit, Math.min(limit, u));
  }

  private static double cubic(double g) {
    return SQRT_TWO_OVER_PI * (g + CUBIC * g * g * g);
  }

  /**
   * The logistic function.
   *
   * @param x any number
   * @return 1 / (1 + exp(-x))
   */
  public static double sigmoid(double x) {
    return 1 / (1 + Math.exp(-x));
  }

  /** The normal distribution function, accurate relative to itself in the lower tail too. */
  static double normalCdf(double x) {
    double z = Math.abs(x) * SQRT_HALF;
    double tail = z < 2 ? 1 - erfSeries(z) : erfcFraction(z);
    return x < 0 ? 0.5 * tail : 1 - 0.5 * tail;
  }

  /** erf z = 2 z / sqrt(pi) exp(-z^2) sum (2 z^2)^n / (2n+1)!!: all terms are positive. */
  private static double erfSeries(double z) {
    double term = 2 * z / SQRT_PI * Math.exp(-z * z);
    double sum = 0;
    for (int n = 1; term > sum * 0x1p-55; n++) {
      sum += term;
      term *= 2 * z * z / (2 * n + 1);
    }
    return sum;
  }

  /** erfc z = exp(-z^2) / sqrt(pi) / (z + (1/2)/(z + 1/(z + (3/2)/(z + ...)))), for z of 2 on. */
  private static double erfcFraction(double z) {
    double fraction = z;
    for (int n = 60; n >= 1; n--) { // enough for z = 2, where it converges slowest
      fraction = z + 0.5 * n / fraction;
    }
    return Math.exp(-z * z) / (SQRT_PI * fraction);
  }
}
