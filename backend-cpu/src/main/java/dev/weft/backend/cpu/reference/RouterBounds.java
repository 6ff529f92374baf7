package dev.weft.backend.cpu.reference;

import dev.weft.moe.RouterSpec;
import dev.weft.moe.RouterSpec.Normalize;
import dev.weft.moe.RouterSpec.Score;

/** Routing of one token in float64 with the errors of the stage rule; all of it is F32. */
final class RouterBounds {
  private final RouterSpec router;
  private final StageSum sum = new StageSum();

  RouterBounds(RouterSpec router) {
    this.router = router;
  }

  /** x * rows^T + bias. */
  Bounded logits(double[] x, double[][] rows, double[] bias) {
    Bounded logits = new Bounded(rows.length);
    for (int e = 0; e < rows.length; e++) {
      sum.clear();
      for (int h = 0; h < x.length; h++) {
        sum.add(x[h], rows[e][h]);
      }
      if (bias.length > 0) {
        sum.add(1, bias[e]);
      }
      logits.set(e, sum);
    }
    return logits;
  }

  Bounded scores(Bounded logits) {
    return switch (router.score()) {
      case IDENTITY -> logits;
      case SIGMOID -> {
        Bounded scores = new Bounded(logits.size());
        for (int e = 0; e < scores.size(); e++) {
          sigmoid(scores, e, logits, e);
        }
        yield scores;
      }
      case SOFTMAX -> softmax(logits);
    };
  }

  /** Sets an element to the sigmoid of another. */
  static void sigmoid(Bounded out, int at, Bounded in, int i) {
    double value = ExpertFunction.sigmoid(in.value[i]);
    double nearest = Math.max(0, Math.abs(in.value[i]) - in.error[i]);
    double slope = ExpertFunction.sigmoid(nearest) * ExpertFunction.sigmoid(-nearest);
    double computing = ToleranceLaw.FUNCTION * value;
    out.set(at, value, slope * in.error[i] + computing, slope * in.rms[i] + computing);
  }

  private Bounded softmax(Bounded logits) {
    double max = Double.NEGATIVE_INFINITY;
    for (double logit : logits.value) {
      max = Math.max(max, ExpertChoice.orLast(logit));
    }
    int size = logits.size();
    Bounded p = new Bounded(size);
    double total = 0;
    for (int e = 0; e < size; e++) {
      p.value[e] = Math.exp(logits.value[e] - max);
      total += p.value[e];
    }
    // What exp may lose, relative to its value; then what the sum may.
    double[] relative = new double[size];
    double[] relativeRms = new double[size];
    double all = 0;
    double allSquared = 0;
    double squares = 0;
    for (int e = 0; e < size; e++) {
      p.value[e] /= total;
      if (p.value[e] > 0) {
        double x = logits.value[e] - max;
        double computing =
            0x1p-22 * (Math.abs(logits.value[e]) + Math.abs(max)) + ToleranceLaw.e(x);
        relative[e] = Math.expm1(logits.error[e] + computing);
        relativeRms[e] = Math.expm1(logits.rms[e] + computing);
        all += p.value[e] * relative[e];
        allSquared += p.value[e] * relativeRms[e] * p.value[e] * relativeRms[e];
        squares += p.value[e] * p.value[e];
      }
    }
    double summing = all + ToleranceLaw.g(size);
    double summingRms = Math.sqrt(allSquared) + ToleranceLaw.gRms(size) * Math.sqrt(squares);
    for (int e = 0; e < size; e++) {
      p.error[e] = p.value[e] * (relative[e] + summing + ToleranceLaw.FUNCTION);
      p.rms[e] = p.value[e] * (relativeRms[e] + summingRms + ToleranceLaw.FUNCTION);
    }
    return p;
  }

  /** The weights of chosen experts; an id outside [0, E) has weight 0. */
  Bounded weights(Bounded scores, int[] ids) {
    Bounded weights = normalized(scores, ids);
    if (router.scalingFactor() != 1) {
      for (int slot = 0; slot < ids.length; slot++) {
        sum.clear();
        weights.addTo(sum, slot, router.scalingFactor());
        weights.set(slot, sum);
      }
    }
    return weights;
  }

  private Bounded normalized(Bounded scores, int[] ids) {
    Bounded chosen = new Bounded(ids.length);
    for (int slot = 0; slot < ids.length; slot++) {
      if (isExpert(ids[slot], scores)) {
        int e = ids[slot];
        chosen.set(slot, scores.value[e], scores.error[e], scores.rms[e]);
      } else if (router.normalize() == Normalize.SOFTMAX) {
        chosen.set(slot, Double.NEGATIVE_INFINITY, 0, 0);
      }
    }
    return switch (router.normalize()) {
      case NONE -> chosen;
      case SOFTMAX -> softmax(chosen);
      case SUM -> {
        Bounded denominator = denominator(chosen);
        Bounded weights = new Bounded(ids.length);
        for (int slot = 0; slot < ids.length; slot++) {
          quotient(
              weights, slot, chosen.value[slot], chosen.error[slot], chosen.rms[slot], denominator);
        }
        yield weights;
      }
    };
  }

  /** The sum of the chosen scores and epsilon. */
  private Bounded denominator(Bounded chosen) {
    sum.clear();
    for (int slot = 0; slot < chosen.size(); slot++) {
      chosen.addTo(sum, slot, 1);
    }
    if (router.epsilon() != 0) {
      sum.add(1, router.epsilon());
    }
    Bounded denominator = new Bounded(1);
    denominator.set(0, sum);
    return denominator;
  }

  /** Sets an element to a / denominator, or to 0 where the denominator is. */
  private static void quotient(
      Bounded out, int at, double a, double error, double rms, Bounded denominator) {
    double d = denominator.value[0];
    double room = Math.abs(d) - denominator.error[0];
    if (d == 0 && denominator.error[0] == 0) {
      out.set(at, 0, 0, 0);
    } else if (room <= 0) { // it may be 0, or of either sign
      out.set(at, d == 0 ? 0 : a / d, Double.POSITIVE_INFINITY, Double.POSITIVE_INFINITY);
    } else {
      double value = a / d;
      double computing = ToleranceLaw.FUNCTION * Math.abs(value);
      out.set(
          at,
          value,
          (error + Math.abs(value) * denominator.error[0]) / room + computing,
          (rms + Math.abs(value) * denominator.rms[0]) / room + computing);
    }
  }

  /**
   * The gradient of one token's logits.
   *
   * @param logits of all experts, as saved
   * @param ids the chosen experts
   * @param dweights the gradients of their weights
   */
  Bounded dlogits(double[] logits, int[] ids, Bounded dweights) {
    Bounded exactLogits = Bounded.exact(logits);
    Bounded scores = scores(exactLogits);
    Bounded dscores = dscores(scores, ids, dweights);
    return switch (router.score()) {
      case IDENTITY -> dscores;
      case SIGMOID -> {
        Bounded dlogits = new Bounded(logits.length);
        for (int e = 0; e < logits.length; e++) {
          if (dscores.value[e] != 0 || dscores.error[e] != 0) {
            sigmoidGradient(dlogits, e, exactLogits, e, dscores, e);
          }
        }
        yield dlogits;
      }
      case SOFTMAX -> softmaxGradient(scores, dscores);
    };
  }

  /**
   * Sets an element to ds * s (1 - s), s being the sigmoid of a logit. 1 - s is a sum of its own:
   * near s = 1 it loses as much as s may.
   */
  void sigmoidGradient(Bounded out, int at, Bounded logits, int i, Bounded ds, int j) {
    double logit = logits.value[i];
    double s = ExpertFunction.sigmoid(logit);
    double complement = ExpertFunction.sigmoid(-logit);
    double slope = s * complement;
    double computing =
        s * (ToleranceLaw.FUNCTION * s + ToleranceLaw.g(2) * (1 + s))
            + complement * ToleranceLaw.FUNCTION * s;
    double curvature = slope; // at least the magnitude of the slope's own derivative
    sum.clear()
        .add(
            ds.value[j],
            ds.error[j],
            ds.rms[j],
            slope,
            computing + curvature * logits.error[i],
            computing + curvature * logits.rms[i]);
    out.set(at, sum);
  }

  private Bounded softmaxGradient(Bounded p, Bounded dp) {
    sum.clear();
    for (int e = 0; e < p.size(); e++) {
      if (dp.value[e] != 0 || dp.error[e] != 0) {
        p.addTo(sum, e, dp, e);
      }
    }
    Bounded mean = new Bounded(1);
    mean.set(0, sum);
    Bounded dlogits = new Bounded(p.size());
    Bounded difference = new Bounded(1);
    for (int e = 0; e < p.size(); e++) {
      sum.clear();
      dp.addTo(sum, e, 1);
      mean.addTo(sum, 0, -1);
      difference.set(0, sum);
      sum.clear();
      p.addTo(sum, e, difference, 0);
      dlogits.set(e, sum);
    }
    return dlogits;
  }

  private Bounded dscores(Bounded scores, int[] ids, Bounded dweights) {
    Bounded normalized = normalized(scores, ids);
    Bounded chosen = new Bounded(ids.length);
    sum.clear();
    for (int slot = 0; slot < ids.length; slot++) {
      if (isExpert(ids[slot], scores)) {
        int e = ids[slot];
        chosen.set(slot, scores.value[e], scores.error[e], scores.rms[e]);
        normalized.addTo(sum, slot, dweights, slot);
      }
    }
    Bounded mean = new Bounded(1);
    mean.set(0, sum);
    Bounded denominator = denominator(chosen);
    Bounded dscores = new Bounded(scores.size());
    Bounded own = new Bounded(1);
    for (int slot = 0; slot < ids.length; slot++) {
      if (!isExpert(ids[slot], scores)) {
        continue;
      }
      own.set(0, dweights.value[slot], dweights.error[slot], dweights.rms[slot]);
      if (router.normalize() != Normalize.NONE) {
        sum.clear();
        own.addTo(sum, 0, 1);
        mean.addTo(sum, 0, -1);
        own.set(0, sum);
      }
      if (router.normalize() == Normalize.SUM) {
        quotient(own, 0, own.value[0], own.error[0], own.rms[0], denominator);
      } else if (router.normalize() == Normalize.SOFTMAX) {
        sum.clear();
        normalized.addTo(sum, slot, own, 0);
        own.set(0, sum);
      }
      if (router.scalingFactor() != 1) {
        sum.clear();
        own.addTo(sum, 0, router.scalingFactor());
        own.set(0, sum);
      }
      int e = ids[slot];
      if (dscores.value[e] != 0) { // named twice
        sum.clear();
        own.addTo(sum, 0, 1);
        dscores.addTo(sum, e, 1);
        own.set(0, sum);
      }
      dscores.set(e, own.value[0], own.error[0], own.rms[0]);
    }
    return dscores;
  }

  static boolean isExpert(int id, Bounded scores) {
    return id >= 0 && id < scores.size();
  }

  /** The bound of a score as a key: the law knows it better than the stage rule does. */
  double[] keyBands(Bounded logits, Bounded scores, double[] bias) {
    double mean = 0;
    if (router.score() == Score.SOFTMAX) {
      for (int e = 0; e < scores.size(); e++) {
        mean += scores.value[e] > 0 ? scores.value[e] * logits.error[e] : 0;
      }
    }
    double[] bands = new double[scores.size()];
    for (int e = 0; e < bands.length; e++) {
      double s = scores.value[e];
      double slope =
          switch (router.score()) {
            case IDENTITY -> logits.error[e];
            case SIGMOID -> s * ExpertFunction.sigmoid(-logits.value[e]) * logits.error[e];
            case SOFTMAX -> s > 0 ? s * (logits.error[e] + mean) : 0;
          };
      bands[e] = slope + 0x1p-22 * (Math.abs(s) + Math.abs(bias[e]));
    }
    return bands;
  }
}
