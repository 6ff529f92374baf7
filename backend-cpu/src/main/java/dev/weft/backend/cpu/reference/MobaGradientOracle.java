package dev.weft.backend.cpu.reference;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import dev.weft.spi.Expected;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * MoBA's gradients, from the given out and lse. Notation is the law's: h what an element of dS may
 * lose, N the (query, head) pairs that read a key.
 */
final class MobaGradientOracle {
  private final MobaAttentionSpec spec;
  private final MobaBackward a;
  private final ToleranceLaw law;

  MobaGradientOracle(MobaAttentionSpec spec, MobaBackward a) {
    this.spec = spec;
    this.a = a;
    law = ToleranceLaw.of(spec.dataType());
  }

  Map<String, Expected> compute() {
    MobaOracle.Bounds dq = bounds(a.q());
    MobaOracle.Bounds dk = bounds(a.k());
    MobaOracle.Bounds dv = bounds(a.v());
    int group = spec.heads() / spec.kvHeads();
    for (MobaSequence sequence : MobaSequence.packed(a.cuSeqlens(), a.k(), a.v())) {
      for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
        MobaHead head = MobaHead.packed(spec, sequence, kvHead, false);
        Sums keySums = new Sums(head.k.length, spec.headDim());
        Sums valueSums = new Sums(head.v.length, spec.valueDim());
        for (int h = kvHead * group; h < (kvHead + 1) * group; h++) {
          for (int position = 0; position < sequence.queries(); position++) {
            row(sequence.firstRow() + position, position, h, head, dq, keySums, valueSums);
          }
        }
        for (int j = 0; j < sequence.keys(); j++) {
          int row = (sequence.firstRow() + j) * spec.kvHeads() + kvHead;
          keySums.finish(dk, j, row, spec.scale(), 0);
          valueSums.finish(dv, j, row, 1, law.mp());
        }
      }
    }
    Map<String, Expected> expected = new LinkedHashMap<>();
    put(expected, "dq", a.dq(), dq);
    put(expected, "dk", a.dk(), dk);
    put(expected, "dv", a.dv(), dv);
    return expected;
  }

  private static MobaOracle.Bounds bounds(Tensor like) {
    return new MobaOracle.Bounds(Math.toIntExact(like.elements()));
  }

  private void put(
      Map<String, Expected> expected,
      String name,
      @Nullable Tensor asked,
      MobaOracle.Bounds bounds) {
    if (asked != null) {
      expected.put(name, bounds.expected(law));
    }
  }

  private void row(
      int t,
      int position,
      int h,
      MobaHead head,
      MobaOracle.Bounds dq,
      Sums keySums,
      Sums valueSums) {
    Elements selection = spec.topK() == 1 ? null : MobaHead.elements(a.selection());
    int own = position / spec.blockSize();
    int[] past = spec.topK() == 1 ? new int[0] : MobaHead.given(selection, t, h, own);
    int[] keys = head.visible(position, past);
    double[] query = MobaHead.row(Elements.of(a.q()), t, h);
    double[] out = MobaHead.row(Elements.of(a.out()), t, h);
    double[] gradient = MobaHead.row(Elements.of(a.dout()), t, h);
    double lse = Elements.of(a.lse()).get(t, h);
    MobaOracle.Scores scores = MobaOracle.scores(spec, head, query, keys);
    Dot delta = new Dot(gradient, out, 0);
    Sums querySums = new Sums(head.dim, head.dim);
    for (int j = 0; j < keys.length; j++) {
      double p = Math.exp(scores.s[j] - lse);
      double d = scores.d(j) + law.up();
      double dRms = scores.rms(j) + law.up();
      Dot dp = new Dot(gradient, head.v, keys[j] * head.valueDim);
      double difference = dp.value - delta.value;
      double ds = p * difference;
      // Of p and of ds, each below the normal numbers.
      double flushed = ToleranceLaw.FLUSHED * Math.abs(difference) + law.mp();
      double error =
          p
                  * (Math.abs(difference) * d
                      + ToleranceLaw.g(head.valueDim) * (dp.magnitude + delta.magnitude))
              + flushed;
      double rms =
          p
                  * (Math.abs(difference) * dRms
                      + ToleranceLaw.gRms(head.valueDim) * (dp.norm + delta.norm))
              + flushed;
      valueSums.add(keys[j], p, p * d, p * dRms, gradient, 0);
      keySums.add(keys[j], ds, error, rms, query, 0);
      querySums.add(0, ds, error, rms, head.k, keys[j] * head.dim);
    }
    querySums.finish(dq, 0, t * spec.heads() + h, spec.scale(), 0);
  }

  private static final class Dot {
    final double value;
    final double magnitude;
    final double norm;

    Dot(double[] a, double[] b, int at) {
      double sum = 0;
      double magnitudes = 0;
      double squares = 0;
      for (int c = 0; c < a.length; c++) {
        double product = a[c] * b[at + c];
        sum += product;
        magnitudes += Math.abs(product);
        squares += product * product;
      }
      value = sum;
      magnitude = magnitudes;
      norm = Math.sqrt(squares);
    }
  }

  /** Rows that are each a sum of factor times row, with what the factors may lose. */
  private static final class Sums {
    private final int width;
    private final double[] value;
    private final double[] error; // sum E(factor) |row|
    private final double[] errorSquares;
    private final double[] magnitude; // sum |factor row|
    private final double[] squares;
    private final double[] rows; // sum |row|
    private final double[] rowSquares;
    private final int[] terms;

    Sums(int elements, int width) {
      this.width = width;
      value = new double[elements];
      error = new double[elements];
      errorSquares = new double[elements];
      magnitude = new double[elements];
      squares = new double[elements];
      rows = new double[elements];
      rowSquares = new double[elements];
      terms = new int[elements / width];
    }

    void add(int to, double factor, double factorError, double factorRms, double[] row, int at) {
      terms[to]++;
      for (int c = 0; c < width; c++) {
        int i = to * width + c;
        double x = row[at + c];
        double size = Math.abs(x);
        double product = factor * x;
        value[i] += product;
        error[i] += factorError * size;
        errorSquares[i] += factorRms * size * factorRms * size;
        magnitude[i] += Math.abs(product);
        squares[i] += product * product;
        rows[i] += size;
        rowSquares[i] += size * size;
      }
    }

    /**
     * Completes a row.
     *
     * @param factor what the whole sum is multiplied by
     * @param absolute what each factor may lose absolutely, beside what was given
     */
    void finish(MobaOracle.Bounds into, int from, int to, double factor, double absolute) {
      double times = Math.abs(factor);
      for (int c = 0; c < width; c++) {
        int i = from * width + c;
        into.set(
            to * width + c,
            factor * value[i],
            times * (error[i] + ToleranceLaw.g(terms[from]) * magnitude[i] + absolute * rows[i]),
            times
                * (Math.sqrt(errorSquares[i])
                    + ToleranceLaw.gRms(terms[from]) * Math.sqrt(squares[i])
                    + absolute * Math.sqrt(rowSquares[i])));
      }
    }
  }
}
