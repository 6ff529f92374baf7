package dev.weft.backend.cpu.reference;

/**
 * One expert in float64 with the errors of the stage rule: what {@link Expert} computes, stage by
 * stage. The activation before the down projection and a slot's output may be rounded to the
 * storage type, which the caller counts ({@link Bounded#rounded}).
 */
final class ExpertBounds {
  private final Expert expert;
  private final ExpertFunction f;
  private final int hidden;
  private final int width;
  private final StageSum sum = new StageSum();

  ExpertBounds(Expert expert, ExpertFunction f) {
    this.expert = expert;
    this.f = f;
    hidden = expert.hidden();
    width = expert.width();
  }

  Bounded project(double[] x) {
    Bounded z = new Bounded(expert.layout().rows());
    for (int row = 0; row < z.size(); row++) {
      sum.clear();
      for (int h = 0; h < hidden; h++) {
        sum.add(x[h], expert.first()[row * hidden + h]);
      }
      if (expert.firstBias()[row] != 0) {
        sum.add(1, expert.firstBias()[row]);
      }
      z.set(row, sum);
    }
    return z;
  }

  Bounded activate(Bounded z) {
    Bounded a = new Bounded(width);
    for (int i = 0; i < width; i++) {
      int g = expert.gateRow(i);
      int u = expert.upRow(i);
      double byGate = 0;
      double byUp = 0;
      for (int corner = -1; corner < 4; corner++) { // the middle and the four corners
        double gate = corner < 0 ? z.value[g] : end(z, g, (corner & 1) == 0);
        double up = corner < 0 ? z.value[u] : end(z, u, (corner & 2) == 0);
        byGate = Math.max(byGate, Math.abs(f.byGate(gate, up)));
        byUp = Math.max(byUp, Math.abs(f.byUp(gate, up)));
      }
      double value = f.value(z.value[g], z.value[u]);
      double computing = ToleranceLaw.FUNCTION * Math.abs(value);
      a.set(
          i,
          value,
          byGate * z.error[g] + byUp * z.error[u] + computing,
          Math.hypot(byGate * z.rms[g], byUp * z.rms[u]) + computing);
    }
    return a;
  }

  /** An end of the interval that an element lies in. */
  private static double end(Bounded z, int i, boolean lower) {
    return lower ? z.value[i] - z.error[i] : z.value[i] + z.error[i];
  }

  Bounded down(Bounded a) {
    Bounded out = new Bounded(hidden);
    for (int h = 0; h < hidden; h++) {
      sum.clear();
      for (int i = 0; i < width; i++) {
        a.addTo(sum, i, expert.down()[h * width + i]);
      }
      if (expert.downBias()[h] != 0) {
        sum.add(1, expert.downBias()[h]);
      }
      out.set(h, sum);
    }
    return out;
  }

  /** The gradient of the activation from that of the output before its weight. */
  Bounded downTransposed(double[] dy) {
    Bounded da = new Bounded(width);
    for (int i = 0; i < width; i++) {
      sum.clear();
      for (int h = 0; h < hidden; h++) {
        sum.add(dy[h], expert.down()[h * width + i]);
      }
      da.set(i, sum);
    }
    return da;
  }

  /**
   * The gradient of a slot's weight: dy . output, or, summed the other way, the activation times
   * the gradient that reaches it. Either order is honest: the larger of the two bounds holds.
   *
   * @param dy the gradient of the combined output
   * @param a the activation, its rounding counted
   * @param out the slot's output, its rounding counted
   * @param da from {@link #downTransposed}
   */
  Bounded weightGradient(double[] dy, Bounded a, Bounded out, Bounded da) {
    Bounded gradient = new Bounded(1);
    sum.clear();
    for (int i = 0; i < width; i++) {
      a.addTo(sum, i, da, i);
    }
    for (int h = 0; h < hidden; h++) {
      if (expert.downBias()[h] != 0) {
        sum.add(dy[h], expert.downBias()[h]);
      }
    }
    double error = sum.error();
    double rms = sum.rms();
    sum.clear();
    for (int h = 0; h < hidden; h++) {
      out.addTo(sum, h, dy[h]);
    }
    gradient.set(0, sum.value(), Math.max(error, sum.error()), Math.max(rms, sum.rms()));
    return gradient;
  }

  /** The gradient of the projection from that of the activation. */
  Bounded activateTransposed(Bounded z, Bounded da) {
    Bounded dz = new Bounded(z.size());
    for (int i = 0; i < width; i++) {
      int g = expert.gateRow(i);
      int u = expert.upRow(i);
      if (f.isGated()) {
        derivative(dz, g, z, g, u, da, i, true);
      }
      derivative(dz, u, z, g, u, da, i, false);
    }
    return dz;
  }

  private void derivative(
      Bounded dz, int at, Bounded z, int g, int u, Bounded da, int i, boolean byGate) {
    double gate = z.value[g];
    double up = z.value[u];
    double value = derivative(gate, up, byGate);
    // The derivative has no derivative of its own at a clamp: it may vary by what it varies within
    // the interval.
    double alongGate = variation(value, gate, up, z.error[g], 0, byGate);
    double alongUp = variation(value, gate, up, 0, z.error[u], byGate);
    double computing =
        byGate
            ? (ToleranceLaw.FUNCTION + ToleranceLaw.g(2)) * f.byGateMagnitude(gate, up)
            : ToleranceLaw.FUNCTION * Math.abs(value);
    double rms =
        Math.hypot(alongGate * share(z.rms[g], z.error[g]), alongUp * share(z.rms[u], z.error[u]));
    sum.clear()
        .add(
            da.value[i],
            da.error[i],
            da.rms[i],
            value,
            alongGate + alongUp + computing,
            rms + computing);
    dz.set(at, sum);
  }

  private static double share(double rms, double error) {
    return error == 0 ? 0 : rms / error;
  }

  private double variation(
      double value, double g, double u, double aroundGate, double aroundUp, boolean byGate) {
    return Math.max(
        Math.abs(derivative(g - aroundGate, u - aroundUp, byGate) - value),
        Math.abs(derivative(g + aroundGate, u + aroundUp, byGate) - value));
  }

  private double derivative(double g, double u, boolean byGate) {
    return byGate ? f.byGate(g, u) : f.byUp(g, u);
  }

  /** The gradient of x from that of the projection. */
  Bounded projectTransposed(Bounded dz) {
    Bounded dx = new Bounded(hidden);
    for (int h = 0; h < hidden; h++) {
      sum.clear();
      for (int row = 0; row < dz.size(); row++) {
        dz.addTo(sum, row, expert.first()[row * hidden + h]);
      }
      dx.set(h, sum);
    }
    return dx;
  }
}
