package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.moe.ExpertActivation;
import dev.weft.moe.MoeDispatchSpec;

/**
 * What lies between an expert's projections: a = f(gate, up) elementwise, and its derivatives.
 * Immutable.
 */
final class GatedActivation {
  private static final float TANH_LINEAR = 0x1.988454p0f; // 2 sqrt(2 / pi)
  private static final float TANH_CUBIC = 0x1.2444f2p-4f; // 0.044715 of it

  private final ExpertActivation activation;
  private final float alpha;
  private final float limit;

  GatedActivation(MoeDispatchSpec spec) {
    activation = spec.activation();
    alpha = spec.swigluAlpha();
    limit = spec.swigluLimit();
  }

  /**
   * Computes a in the place of the ups.
   *
   * @param gate gates from 0 on; not read where there are none
   * @param up ups from {@code upAt} on, replaced by a
   */
  void apply(Arithmetic arithmetic, float[] gate, int gateAt, float[] up, int upAt, int count) {
    switch (activation) {
      case SWIGLU -> arithmetic.gatedSigmoid(gate, gateAt, up, upAt, 1, 0, up, upAt, count);
      case SWIGLU_CLAMPED -> {
        for (int i = 0; i < count; i++) {
          gate[gateAt + i] = Math.min(gate[gateAt + i], limit);
          up[upAt + i] = Math.clamp(up[upAt + i], -limit, limit);
        }
        arithmetic.gatedSigmoid(gate, gateAt, up, upAt, alpha, 1, up, upAt, count);
      }
      case GEGLU_TANH -> {
        // (1 + tanh y) / 2 = 1 / (1 + exp(-2 y)); up and gate meet before their places are reused.
        for (int i = 0; i < count; i++) {
          float g = gate[gateAt + i];
          up[upAt + i] *= g;
          gate[gateAt + i] = -g * (TANH_LINEAR + TANH_CUBIC * g * g);
        }
        arithmetic.exp(gate, gateAt, count);
        for (int i = 0; i < count; i++) {
          up[upAt + i] /= 1 + gate[gateAt + i];
        }
      }
      case GEGLU -> {
        for (int i = 0; i < count; i++) {
          double g = gate[gateAt + i];
          up[upAt + i] = (float) (g * normalDistribution(g) * up[upAt + i]);
        }
      }
      case RELU2 -> {
        for (int i = 0; i < count; i++) {
          float h = Math.max(up[upAt + i], 0);
          up[upAt + i] = h * h;
        }
      }
    }
  }

  /**
   * Replaces gates and ups by the gradients at them.
   *
   * @param gate gates, replaced by da * df/dgate; untouched where there are none
   * @param up ups, replaced by da * df/dup
   * @param da gradients at a
   */
  void gradients(float[] gate, int gateAt, float[] up, int upAt, float[] da, int daAt, int count) {
    for (int i = 0; i < count; i++) {
      double u = up[upAt + i];
      double d = da[daAt + i];
      if (activation == ExpertActivation.RELU2) {
        up[upAt + i] = (float) (d * 2 * Math.max(u, 0));
        continue;
      }
      double g = gate[gateAt + i];
      double value; // of what multiplies the up, and its derivative
      double slope;
      double dup = 1;
      switch (activation) {
        case SWIGLU -> {
          double s = 1 / (1 + Math.exp(-g));
          value = g * s;
          slope = s + g * s * complement(g, s);
        }
        case SWIGLU_CLAMPED -> {
          double clamped = Math.min(g, limit);
          double s = 1 / (1 + Math.exp(-alpha * clamped));
          value = clamped * s;
          slope = g <= limit ? s + alpha * g * s * complement(alpha * g, s) : 0;
          dup = Math.abs(u) <= limit ? 1 : 0;
          u = Math.clamp(u, -limit, limit) + 1;
        }
        case GEGLU_TANH -> {
          double y = g * (2 * Math.sqrt(2 / Math.PI)) * (1 + 0.044715 * g * g);
          double dy = 2 * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * g * g);
          double s = 1 / (1 + Math.exp(-y));
          value = g * s;
          slope = s + g * s * complement(y, s) * dy;
        }
        case GEGLU -> {
          double phi = normalDistribution(g);
          value = g * phi;
          slope = phi + g * Math.exp(-0.5 * g * g) / Math.sqrt(2 * Math.PI);
        }
        default -> throw new IllegalStateException(activation.toString());
      }
      gate[gateAt + i] = (float) (d * slope * u);
      up[upAt + i] = (float) (d * value * dup);
    }
  }

  /** 1 - sigmoid(x), exact where that is next to nothing. */
  private static double complement(double x, double sigmoid) {
    return x > 30 ? Math.exp(-x) : 1 - sigmoid;
  }

  /** The normal distribution function by Chebyshev's fit of erfc, within 1.2e-7 of itself. */
  private static double normalDistribution(double x) {
    double z = Math.abs(x) * Math.sqrt(0.5);
    double t = 1 / (1 + 0.5 * z);
    double polynomial = 0.17087277;
    polynomial = polynomial * t - 0.82215223;
    polynomial = polynomial * t + 1.48851587;
    polynomial = polynomial * t - 1.13520398;
    polynomial = polynomial * t + 0.27886807;
    polynomial = polynomial * t - 0.18628806;
    polynomial = polynomial * t + 0.09678418;
    polynomial = polynomial * t + 0.37409196;
    polynomial = polynomial * t + 1.00002368;
    double tail = 0.5 * t * Math.exp(-z * z - 1.26551223 + t * polynomial);
    return x >= 0 ? 1 - tail : tail;
  }
}
