package dev.weft.backend.cpu.reference;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.host.HostStream;
import dev.weft.backend.cpu.moba.BlockMean;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MobaKernel;
import java.util.List;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/**
 * MoBA as its formulas say it: float64 throughout, each output rounded once.
 *
 * <p>What the contract leaves to an implementation: a query that sees no key, because its
 * sequence's lengths or pages are out of range, gets out 0, lse -inf and no block; in backward it
 * gives and gets no gradient. A block whose stored mean lies in a page out of range scores -inf.
 */
final class MobaReference implements MobaKernel {
  private final MobaAttentionSpec spec;
  private final int group;

  MobaReference(MobaAttentionSpec spec) {
    this.spec = spec;
    group = spec.heads() / spec.kvHeads();
  }

  static Support supports(MobaAttentionSpec spec) {
    return Support.yes();
  }

  @Override
  public long workspaceBytes(Mode mode, Limits limits) {
    return 0;
  }

  @Override
  public void forward(LaunchContext context, MobaForward a) {
    HostStream.of(context)
        .submit(
            "moba.forward",
            () ->
                attend(
                    MobaSequence.packed(a.cuSeqlens(), a.k(), a.v()),
                    (sequence, kvHead) -> MobaHead.packed(spec, sequence, kvHead, spec.topK() > 1),
                    a.q(),
                    a.out(),
                    a.lse(),
                    a.selection()));
  }

  @Override
  public void paged(LaunchContext context, MobaPaged a) {
    HostStream.of(context)
        .submit(
            "moba.paged",
            () ->
                attend(
                    MobaSequence.paged(spec, a),
                    (sequence, kvHead) -> MobaHead.paged(spec, sequence, kvHead),
                    a.q(),
                    a.out(),
                    a.lse(),
                    a.selection()));
  }

  private void attend(
      List<MobaSequence> sequences,
      BiFunction<MobaSequence, Integer, MobaHead> read,
      Tensor queries,
      Tensor outTensor,
      @Nullable Tensor lseTensor,
      @Nullable Tensor selectionTensor) {
    Elements q = Elements.of(queries);
    Elements out = Elements.of(outTensor);
    Elements lse = MobaHead.elements(lseTensor);
    Elements selection = MobaHead.elements(selectionTensor);
    for (MobaSequence sequence : sequences) {
      for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
        MobaHead head = read.apply(sequence, kvHead);
        for (int h = kvHead * group; h < (kvHead + 1) * group; h++) {
          for (int i = 0; i < sequence.queries(); i++) {
            long t = (long) sequence.firstRow() + i;
            double[] query = MobaHead.row(q, t, h);
            int[] past = {};
            int[] keys = {};
            if (sequence.keys() > 0) {
              int position = sequence.firstPosition() + i;
              past = head.select(query, position / spec.blockSize());
              keys = head.visible(position, past);
            }
            if (keys.length == 0) {
              past = keys;
            }
            double logSum = softmax(head, query, keys, out, t, h);
            if (lse != null) {
              lse.set(t, h, logSum);
            }
            if (selection != null) {
              for (int slot = 0; slot < spec.topK() - 1; slot++) {
                selection.set(t, h, slot, slot < past.length ? past[slot] : -1);
              }
            }
          }
        }
      }
    }
  }

  /** Writes one row of out and returns its lse. */
  private double softmax(MobaHead head, double[] query, int[] keys, Elements out, long t, int h) {
    double[] s = scaledScores(head, query, keys);
    double max = Double.NEGATIVE_INFINITY;
    for (double x : s) {
      max = Math.max(max, x);
    }
    double[] p = new double[keys.length];
    double sum = 0;
    for (int j = 0; j < keys.length; j++) {
      p[j] = Math.exp(s[j] - max);
      sum += p[j];
    }
    for (int c = 0; c < spec.valueDim(); c++) {
      double weighted = 0;
      for (int j = 0; j < keys.length; j++) {
        weighted += p[j] * head.v[keys[j] * head.valueDim + c];
      }
      out.set(t, h, c, keys.length == 0 ? 0 : weighted / sum);
    }
    return keys.length == 0 ? Double.NEGATIVE_INFINITY : max + Math.log(sum);
  }

  private double[] scaledScores(MobaHead head, double[] query, int[] keys) {
    double[] s = new double[keys.length];
    for (int j = 0; j < keys.length; j++) {
      s[j] = spec.scale() * MobaHead.dot(query, 0, head.k, keys[j] * head.dim, head.dim);
    }
    return s;
  }

  /**
   * With P = exp(s - lse), delta = dout . out, dP = dout . v and dS = P (dP - delta), from the
   * given lse and out: dq = scale dS k, dk = scale dS^T q, dv = P^T dout, those of a kv head summed
   * over its group.
   */
  @Override
  public void backward(LaunchContext context, MobaBackward a) {
    HostStream.of(context).submit("moba.backward", () -> backward(a));
  }

  private void backward(MobaBackward a) {
    Elements dk = MobaHead.elements(a.dk());
    Elements dv = MobaHead.elements(a.dv());
    for (MobaSequence sequence : MobaSequence.packed(a.cuSeqlens(), a.k(), a.v())) {
      for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
        MobaHead head = MobaHead.packed(spec, sequence, kvHead, false);
        double[] keyGradient = new double[head.k.length];
        double[] valueGradient = new double[head.v.length];
        for (int h = kvHead * group; h < (kvHead + 1) * group; h++) {
          backward(a, sequence, head, h, keyGradient, valueGradient);
        }
        for (int j = 0; j < sequence.keys(); j++) {
          long t = (long) sequence.firstRow() + j;
          for (int c = 0; dk != null && c < head.dim; c++) {
            dk.set(t, kvHead, c, keyGradient[j * head.dim + c]);
          }
          for (int c = 0; dv != null && c < head.valueDim; c++) {
            dv.set(t, kvHead, c, valueGradient[j * head.valueDim + c]);
          }
        }
      }
    }
  }

  private void backward(
      MobaBackward a,
      MobaSequence sequence,
      MobaHead head,
      int h,
      double[] keyGradient,
      double[] valueGradient) {
    Elements q = Elements.of(a.q());
    Elements out = Elements.of(a.out());
    Elements lse = Elements.of(a.lse());
    Elements dout = Elements.of(a.dout());
    Elements selection = MobaHead.elements(a.selection());
    Elements dq = MobaHead.elements(a.dq());
    for (int position = 0; position < sequence.queries(); position++) {
      long t = (long) sequence.firstRow() + position;
      int[] past =
          spec.topK() == 1
              ? new int[0]
              : MobaHead.given(selection, t, h, position / spec.blockSize());
      int[] keys = head.visible(position, past);
      double[] query = MobaHead.row(q, t, h);
      double[] gradient = MobaHead.row(dout, t, h);
      double delta = MobaHead.dot(gradient, 0, MobaHead.row(out, t, h), 0, head.valueDim);
      double[] s = scaledScores(head, query, keys);
      double[] queryGradient = new double[head.dim];
      for (int j = 0; j < keys.length; j++) {
        int key = keys[j] * head.dim;
        int value = keys[j] * head.valueDim;
        double p = Math.exp(s[j] - lse.get(t, h));
        double dp = MobaHead.dot(gradient, 0, head.v, value, head.valueDim);
        double ds = p * (dp - delta);
        for (int c = 0; c < head.dim; c++) {
          queryGradient[c] += spec.scale() * ds * head.k[key + c];
          keyGradient[key + c] += spec.scale() * ds * query[c];
        }
        for (int c = 0; c < head.valueDim; c++) {
          valueGradient[value + c] += p * gradient[c];
        }
      }
      for (int c = 0; dq != null && c < head.dim; c++) {
        dq.set(t, h, c, queryGradient[c]);
      }
    }
  }

  /** Stores all rows first: a mean is that of the stored keys, whichever call stored them. */
  @Override
  public void append(LaunchContext context, MobaAppend a) {
    HostStream.of(context).submit("moba.append", () -> append(a));
  }

  private void append(MobaAppend a) {
    List<MobaSequence> sequences = MobaSequence.paged(spec, a);
    Elements keyCache = Elements.of(a.keyCache());
    Elements valueCache = Elements.of(a.valueCache());
    Elements k = Elements.of(a.k());
    Elements v = Elements.of(a.v());
    float[] key = new float[spec.headDim()];
    float[] value = new float[spec.valueDim()];
    for (MobaSequence sequence : sequences) {
      for (int position = sequence.firstPosition(); position < sequence.keys(); position++) {
        int page = sequence.page(position);
        if (page < 0) {
          continue;
        }
        long t = (long) sequence.firstRow() + position - sequence.firstPosition();
        for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
          k.copyRow(key, 0, t, kvHead);
          v.copyRow(value, 0, t, kvHead);
          keyCache.setRow(key, 0, page, position % spec.pageSize(), kvHead);
          valueCache.setRow(value, 0, page, position % spec.pageSize(), kvHead);
        }
      }
    }
    Elements means = Elements.of(a.blockMeans());
    BlockMean mean = new BlockMean(spec.dataType(), spec.headDim(), spec.blockSize());
    for (MobaSequence sequence : sequences) {
      int first = sequence.firstPosition() / spec.blockSize();
      for (int block = first; block < sequence.keys() / spec.blockSize(); block++) {
        int last = (block + 1) * spec.blockSize() - 1;
        int page = sequence.page(last);
        for (int kvHead = 0; page >= 0 && kvHead < spec.kvHeads(); kvHead++) {
          if (mean.compute(sequence, block, kvHead, key, 0)) {
            means.setRow(key, 0, page, last % spec.pageSize() / spec.blockSize(), kvHead);
          }
        }
      }
    }
  }
}
