package dev.weft.backend.cpu.reference;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import dev.weft.spi.Expected;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/**
 * MoBA's values in float64 with the bounds of the tolerance law. Notation is the law's: A the
 * condition sum of a score, m a row's maximum, d what exp(s - m) may lose relative to itself, L the
 * keys that a query sees.
 */
final class MobaOracle {
  private final MobaAttentionSpec spec;
  private final ToleranceLaw law;
  private final double scale;

  private MobaOracle(MobaAttentionSpec spec) {
    this.spec = spec;
    law = ToleranceLaw.of(spec.dataType());
    scale = Math.abs(spec.scale());
  }

  static Map<String, Expected> forward(
      MobaAttentionSpec spec, MobaForward a, @Nullable Tensor selection) {
    return new MobaOracle(spec)
        .attend(
            MobaSequence.packed(a.cuSeqlens(), a.k(), a.v()),
            (s, kvHead) -> MobaHead.packed(spec, s, kvHead, selection == null && spec.topK() > 1),
            a.q(),
            a.lse() != null,
            selection);
  }

  static Optional<String> selectionFault(MobaAttentionSpec spec, MobaForward a, Tensor selection) {
    return MobaSelectionOracle.packed(spec, a, selection);
  }

  static Map<String, Expected> backward(MobaAttentionSpec spec, MobaBackward a) {
    return new MobaGradientOracle(spec, a).compute();
  }

  static Map<String, Expected> append(MobaAttentionSpec spec, MobaAppend a) {
    return MobaAppendOracle.compute(spec, a);
  }

  static Map<String, Expected> paged(
      MobaAttentionSpec spec, MobaPaged a, @Nullable Tensor selection) {
    return new MobaOracle(spec)
        .attend(
            MobaSequence.paged(spec, a),
            (s, kvHead) -> MobaHead.paged(spec, s, kvHead),
            a.q(),
            a.lse() != null,
            selection);
  }

  static Optional<String> pagedSelectionFault(
      MobaAttentionSpec spec, MobaPaged a, Tensor selection) {
    return MobaSelectionOracle.paged(spec, a, selection);
  }

  private Map<String, Expected> attend(
      List<MobaSequence> sequences,
      BiFunction<MobaSequence, Integer, MobaHead> read,
      Tensor queries,
      boolean wantsLse,
      @Nullable Tensor selection) {
    int heads = spec.heads();
    int group = heads / spec.kvHeads();
    int rows = Math.multiplyExact(Math.toIntExact(queries.size(0)), heads);
    Bounds out = new Bounds(Math.multiplyExact(rows, spec.valueDim()));
    Bounds lse = new Bounds(rows);
    Elements q = Elements.of(queries);
    Elements given = MobaHead.elements(selection);
    for (MobaSequence sequence : sequences) {
      for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
        MobaHead head = read.apply(sequence, kvHead);
        for (int i = 0; i < sequence.queries(); i++) {
          int t = sequence.firstRow() + i;
          int position = sequence.firstPosition() + i;
          int own = position / spec.blockSize();
          for (int h = kvHead * group; h < (kvHead + 1) * group; h++) {
            double[] query = MobaHead.row(q, t, h);
            int[] keys = {};
            if (sequence.keys() > 0) {
              int[] past =
                  given == null || spec.topK() == 1
                      ? head.select(query, own)
                      : MobaHead.given(given, t, h, own);
              keys = head.visible(position, past);
            }
            row(head, query, keys, t * heads + h, out, lse);
          }
        }
      }
    }
    Map<String, Expected> expected = new LinkedHashMap<>();
    expected.put("out", out.expected(law));
    if (wantsLse) {
      // lse is F32 whatever the storage type, and its bound counts that rounding already.
      expected.put("lse", lse.expected());
    }
    return expected;
  }

  private void row(MobaHead head, double[] query, int[] keys, int row, Bounds out, Bounds lse) {
    if (keys.length == 0) {
      lse.set(row, Double.NEGATIVE_INFINITY, 0, 0);
      for (int c = 0; c < head.valueDim; c++) {
        out.set(row * head.valueDim + c, 0, 0, 0);
      }
      return;
    }
    Scores scores = new Scores(head, query, keys);
    double[] p = new double[keys.length];
    double sum = 0;
    for (int j = 0; j < keys.length; j++) {
      p[j] = Math.exp(scores.s[j] - scores.max);
      sum += p[j];
    }
    double logSum = scores.max + Math.log(sum);
    double[] value = new double[head.valueDim];
    for (int j = 0; j < keys.length; j++) {
      int at = keys[j] * head.valueDim;
      for (int c = 0; c < value.length; c++) {
        value[c] += p[j] * head.v[at + c];
      }
    }
    for (int c = 0; c < value.length; c++) {
      value[c] /= sum;
    }

    double pd = 0;
    double pdSquares = 0;
    double[] pdv = new double[value.length]; // sum p d |v|
    double[] pdvSquares = new double[value.length]; // sum (p d (|v| + |o|))^2
    double[] pv = new double[value.length]; // sum p |v|
    double[] pvSquares = new double[value.length];
    double[] v = new double[value.length]; // sum |v|
    double[] vSquares = new double[value.length];
    for (int j = 0; j < keys.length; j++) {
      double weight = p[j] / sum;
      double error = weight * scores.d(j);
      double rms = weight * scores.rms(j);
      pd += error;
      pdSquares += rms * rms;
      int at = keys[j] * head.valueDim;
      for (int c = 0; c < value.length; c++) {
        double magnitude = Math.abs(head.v[at + c]);
        double spread = rms * (magnitude + Math.abs(value[c]));
        double weighted = weight * magnitude;
        pdv[c] += error * magnitude;
        pdvSquares[c] += spread * spread;
        pv[c] += weighted;
        pvSquares[c] += weighted * weighted;
        v[c] += magnitude;
        vSquares[c] += magnitude * magnitude;
      }
    }
    double rounding = 0x1p-22 * Math.abs(logSum);
    double weights = 0;
    for (double weight : p) {
      weights += weight / sum * (weight / sum);
    }
    int keyCount = keys.length;
    lse.set(
        row,
        logSum,
        pd + ToleranceLaw.g(keyCount) + rounding,
        Math.sqrt(pdSquares) + ToleranceLaw.gRms(keyCount) * Math.sqrt(weights) + rounding);
    // Probabilities below the range round to 0 or to the least number, or are flushed.
    double underflow = law.mp() * Math.exp(scores.max - logSum);
    for (int c = 0; c < value.length; c++) {
      out.set(
          row * value.length + c,
          value[c],
          pdv[c]
              + Math.abs(value[c]) * pd
              + (2 * law.up() + ToleranceLaw.g(keyCount)) * pv[c]
              + underflow * v[c],
          Math.sqrt(pdvSquares[c])
              + (2 * law.up() + ToleranceLaw.gRms(keyCount)) * Math.sqrt(pvSquares[c])
              + underflow * Math.sqrt(vSquares[c]));
    }
  }

  /** The scaled scores of one query with what they may lose. */
  final class Scores {
    final double[] s;
    final double max;
    private final double[] condition;
    private final double[] norm;

    Scores(MobaHead head, double[] query, int[] keys) {
      s = new double[keys.length];
      condition = new double[keys.length];
      norm = new double[keys.length];
      double highest = Double.NEGATIVE_INFINITY;
      for (int j = 0; j < keys.length; j++) {
        int at = keys[j] * head.dim;
        double sum = 0;
        double magnitude = 0;
        double squares = 0;
        for (int c = 0; c < query.length; c++) {
          double product = query[c] * head.k[at + c];
          sum += product;
          magnitude += Math.abs(product);
          squares += product * product;
        }
        s[j] = spec.scale() * sum;
        condition[j] = scale * magnitude;
        norm[j] = scale * Math.sqrt(squares);
        highest = Math.max(highest, s[j]);
      }
      max = highest;
    }

    /** d = g(D) A + 2^-22 (|s| + |m|) + e(s - m). */
    double d(int j) {
      return ToleranceLaw.g(spec.headDim()) * condition[j] + evaluation(j);
    }

    /** d of the normwise law. */
    double rms(int j) {
      return ToleranceLaw.gRms(spec.headDim()) * norm[j] + evaluation(j);
    }

    private double evaluation(int j) {
      return 0x1p-22 * (Math.abs(s[j]) + Math.abs(max)) + ToleranceLaw.e(s[j] - max);
    }
  }

  static Scores scores(MobaAttentionSpec spec, MobaHead head, double[] query, int[] keys) {
    return new MobaOracle(spec).new Scores(head, query, keys);
  }

  /** An output in the making: unwritten until set. */
  static final class Bounds {
    private final double[] value;
    private final double[] error;
    private final double[] rms;
    private final boolean[] written;

    Bounds(int elements) {
      value = new double[elements];
      error = new double[elements];
      rms = new double[elements];
      written = new boolean[elements];
    }

    void set(int at, double value, double error, double rms) {
      this.value[at] = value;
      this.error[at] = error;
      this.rms[at] = rms;
      written[at] = true;
    }

    /** The output, its storing in the law's type added to its bounds. */
    Expected expected(ToleranceLaw law) {
      return markUnwritten(law.output(value, error, rms));
    }

    /** The output, its bounds being complete: NaN and infinities exactly, as with the other. */
    Expected expected() {
      for (int i = 0; i < value.length; i++) {
        boolean finite = Double.isFinite(value[i]);
        error[i] = finite ? orInfinity(error[i]) : 0;
        rms[i] = finite ? orInfinity(rms[i]) : 0;
      }
      return markUnwritten(new Expected(value, error, rms));
    }

    private static double orInfinity(double bound) {
      return Double.isNaN(bound) ? Double.POSITIVE_INFINITY : bound;
    }

    private Expected markUnwritten(Expected expected) {
      for (int i = 0; i < value.length; i++) {
        if (!written[i]) {
          expected.error()[i] = Double.NaN;
          expected.rms()[i] = 0;
        }
      }
      return expected;
    }
  }
}
