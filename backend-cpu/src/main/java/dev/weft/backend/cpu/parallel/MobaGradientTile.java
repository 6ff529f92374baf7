package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.moba.MobaAttentionSpec;
import java.util.Arrays;

/**
 * A batch of query rows, one to a lane, and the keys of a span that they meet, {@link
 * MobaSpan#TILE} at a time: P = exp(scale q.k - lse) and dS = P (dout.v - delta), and what dS adds
 * to dq.
 */
final class MobaGradientTile {
  /** The first array of floats of the scratch that is free beside this and a MobaSpan. */
  static final int NEXT_FLOATS = 9;

  private static final int LANES = Arithmetic.LANES;

  // Arrays of the scratch beyond those of MobaSpan.
  private static final int QUERIES = 2;
  private static final int GRADIENTS = 3;
  private static final int P = 4;
  private static final int DS = 5;
  private static final int LSE = 6;
  private static final int DELTA = 7;
  private static final int DQ = 8;

  // Of integers, beyond those of MobaRows and MobaSpan.
  private static final int SEEN = 10;
  private static final int VISIBLE = 11;

  /** q of the batch, to be filled in. */
  final float[] queries;

  /** dout of the batch, to be filled in. */
  final float[] gradients;

  /** Of each lane, to be filled in. */
  final float[] lse;

  /** Of each lane, to be filled in. */
  final float[] delta;

  /** How many of the span's keys each lane sees, from its first; to be filled in, all of it. */
  final int[] seen;

  /** P of the last tile, a row of lanes for each key. */
  final float[] p;

  /** dS of the last tile, likewise. */
  final float[] ds;

  /** dS k, without the scale: summed over tiles since {@link #clear}. */
  final float[] dq;

  private final int[] visible;
  private final Arithmetic arithmetic;
  private final MobaSpan span;
  private final float scale;
  private final int dim;
  private final int valueDim;

  MobaGradientTile(
      MobaAttentionSpec spec, Arithmetic arithmetic, TaskScratch scratch, MobaSpan span) {
    this.arithmetic = arithmetic;
    this.span = span;
    scale = spec.scale();
    dim = spec.headDim();
    valueDim = spec.valueDim();
    queries = scratch.floats(QUERIES, dim * LANES);
    gradients = scratch.floats(GRADIENTS, valueDim * LANES);
    p = scratch.floats(P, MobaSpan.TILE * LANES);
    ds = scratch.floats(DS, MobaSpan.TILE * LANES);
    lse = scratch.floats(LSE, LANES);
    delta = scratch.floats(DELTA, LANES);
    dq = scratch.floats(DQ, dim * LANES);
    seen = scratch.ints(SEEN, LANES);
    visible = scratch.ints(VISIBLE, LANES);
  }

  /** Starts dq at zero. */
  void clear() {
    Arrays.fill(dq, 0, dim * LANES, 0);
  }

  /** Computes p and ds of some of the span's keys; the first `count` lanes hold rows. */
  void meet(int first, int keys, int count) {
    int lanes = arithmetic.wholeVectors(count);
    boolean all = true;
    for (int lane = 0; lane < LANES; lane++) {
      visible[lane] = seen[lane] - first;
      all &= lane >= count || visible[lane] >= keys;
    }
    Arrays.fill(p, 0, keys * LANES, 0);
    Arrays.fill(ds, 0, keys * LANES, 0);
    int key = first * span.keyPitch;
    int value = first * span.valuePitch;
    arithmetic.multiplyRows(keys, dim, lanes, span.k, key, span.keyPitch, queries, 0, p, 0);
    arithmetic.multiplyRows(
        keys, valueDim, lanes, span.v, value, span.valuePitch, gradients, 0, ds, 0);
    arithmetic.softmaxGradient(p, ds, keys, lanes, scale, all ? null : visible, lse, delta);
  }

  /** Adds to dq what ds of the same keys gives. */
  void addToQueries(int first, int keys, int count) {
    int lanes = arithmetic.wholeVectors(count);
    int key = first * span.keyPitch;
    arithmetic.multiplyColumns(dim, keys, lanes, span.k, key, span.keyPitch, ds, 0, dq, 0);
  }
}
