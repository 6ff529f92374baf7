package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.LongConsumer;
import org.jspecify.annotations.Nullable;

/**
 * dk = scale dS^T q and dv = P^T dout, each key's summed over all rows of its group that read it. A
 * task is a part of a block (or several small blocks) of one kv head, whose keys, values and sums
 * stay in the second-level cache while its readers come past in order: those of its own block, then
 * those that selected it.
 *
 * <p>A batch of readers is lanes where scores are computed, and the dimension that is summed over
 * where gradients are: there the lanes are columns of dk and dv.
 */
final class MobaKeyGradients {
  private static final int LANES = Arithmetic.LANES;
  private static final int TILE = MobaSpan.TILE;

  // Keys and values, and as many sums, at D = 128: 512 KiB.
  private static final int MOST_KEYS = 256;

  // Arrays of the scratch beyond those of MobaSpan.
  private static final int QUERIES = 2;
  private static final int SCORES = 3;
  private static final int DP = 4;
  private static final int GRADIENTS = 5;
  private static final int QUERY_ROWS = 6;
  private static final int GRADIENT_ROWS = 7;
  private static final int BUFFER = 8;
  private static final int DK = 9;
  private static final int DV = 10;
  private static final int BATCH_LSE = 11;
  private static final int BATCH_DELTA = 12;

  // Of integers, beyond those of MobaSpan.
  private static final int SEEN = 10;
  private static final int VISIBLE = 11;

  private final MobaAttentionSpec spec;
  private final Compute compute;
  private final Arithmetic arithmetic;
  private final List<MobaSequence> sequences;
  private final MobaReaders readers;
  private final int group;
  private final Elements q;
  private final Elements out;
  private final Elements lse;
  private final Elements dout;
  private final @Nullable Elements dk;
  private final @Nullable Elements dv;

  MobaKeyGradients(
      MobaAttentionSpec spec,
      Compute compute,
      List<MobaSequence> sequences,
      MobaBackward a,
      MobaReaders readers) {
    this.spec = spec;
    this.compute = compute;
    arithmetic = compute.arithmetic();
    this.sequences = sequences;
    this.readers = readers;
    group = spec.heads() / spec.kvHeads();
    q = Elements.of(a.q());
    out = Elements.of(a.out());
    lse = Elements.of(a.lse());
    dout = Elements.of(a.dout());
    Tensor keyGradients = a.dk();
    dk = keyGradients == null ? null : Elements.of(keyGradients);
    Tensor valueGradients = a.dv();
    dv = valueGradients == null ? null : Elements.of(valueGradients);
  }

  /** Positions of one sequence: a part of a block, or whole small blocks. */
  private record Piece(int sequence, int from, int to) {}

  void run(int fromHead, int toHead) {
    List<Piece> pieces = new ArrayList<>();
    int size = spec.blockSize();
    for (int s = 0; s < sequences.size(); s++) {
      int keys = sequences.get(s).keys();
      long step = size <= MOST_KEYS ? (long) MOST_KEYS / size * size : size;
      for (long start = 0; start < keys; start += step) {
        int end = (int) Math.min(keys, start + step);
        for (int from = (int) start; from < end; from += MOST_KEYS) {
          pieces.add(new Piece(s, from, Math.min(end, from + MOST_KEYS)));
        }
      }
    }
    int heads = toHead - fromHead;
    compute.share(
        Math.multiplyExact(pieces.size(), heads),
        (own, scratch) -> {
          Gradients gradients = new Gradients(scratch);
          for (int task = own.next(); task >= 0; task = own.next()) {
            Piece piece = pieces.get(task / heads);
            gradients.begin(piece.sequence, fromHead + task % heads);
            for (int from = piece.from; from < piece.to; ) {
              int block = from / size;
              int to = (int) Math.min(piece.to, (block + 1L) * size);
              gradients.keys(block, from, to);
              from = to;
            }
          }
        });
  }

  private final class Gradients {
    private final int dim = spec.headDim();
    private final int valueDim = spec.valueDim();
    private final MobaSpan span;
    private final float[] dkSums;
    private final float[] dvSums;
    // Of one batch: as lanes, and as rows in panels of columns.
    private final float[] queries;
    private final float[] gradients;
    private final float[] queryRows;
    private final float[] gradientRows;
    private final float[] scores;
    private final float[] dp;
    private final float[] buffer;
    private final float[] batchLse;
    private final float[] batchDelta;
    private final int[] seen;
    private final int[] visible;
    private int s;
    private int kvHead;
    private MobaSequence sequence;
    private int sees; // keys, of rows that selected the block
    private final LongConsumer reader = this::readPast;
    private int batched;

    Gradients(TaskScratch scratch) {
      sequence = sequences.getFirst();
      span = new MobaSpan(spec, arithmetic, scratch, sequence, MOST_KEYS);
      dkSums = scratch.floats(DK, columnPanels(dim) * MOST_KEYS * LANES);
      dvSums = scratch.floats(DV, columnPanels(valueDim) * MOST_KEYS * LANES);
      queries = scratch.floats(QUERIES, dim * LANES);
      gradients = scratch.floats(GRADIENTS, valueDim * LANES);
      queryRows = scratch.floats(QUERY_ROWS, columnPanels(dim) * LANES * LANES);
      gradientRows = scratch.floats(GRADIENT_ROWS, columnPanels(valueDim) * LANES * LANES);
      scores = scratch.floats(SCORES, TILE * LANES);
      dp = scratch.floats(DP, TILE * LANES);
      buffer = scratch.floats(BUFFER, dim + 2 * valueDim);
      batchLse = scratch.floats(BATCH_LSE, LANES);
      batchDelta = scratch.floats(BATCH_DELTA, LANES);
      seen = scratch.ints(SEEN, LANES);
      visible = scratch.ints(VISIBLE, LANES);
    }

    /** Starts on keys of a sequence and kv head. */
    void begin(int number, int head) {
      s = number;
      kvHead = head;
      sequence = sequences.get(number);
      span.of(sequence, head);
    }

    private static int columnPanels(int columns) {
      return Math.ceilDiv(columns, LANES);
    }

    /** Computes the gradients of keys of one block. */
    void keys(int block, int from, int to) {
      span.load(from, to - from);
      Arrays.fill(dkSums, 0, columnPanels(dim) * MOST_KEYS * LANES, 0);
      Arrays.fill(dvSums, 0, columnPanels(valueDim) * MOST_KEYS * LANES, 0);
      Arrays.fill(seen, 0, LANES, span.keys());
      batched = 0;
      long end = Math.min((block + 1L) * spec.blockSize(), sequence.keys());
      for (int position = from; position < end; position++) {
        for (int g = 0; g < group; g++) {
          read((long) position * group + g, Math.min(to, position + 1) - from);
        }
      }
      finish();
      sees = to - from;
      readers.each(s, kvHead, block, reader);
      finish();
      store(from, to);
    }

    private void readPast(long row) {
      read(row, sees);
    }

    /** Adds a reader to the batch. */
    private void read(long row, int keysSeen) {
      long t = sequence.firstRow() + row / group;
      int h = kvHead * group + (int) (row % group);
      read(q, t, h, 0);
      read(dout, t, h, dim);
      read(out, t, h, dim + valueDim);
      // 0 times what is not finite would be NaN: such a row is a batch of its own.
      boolean alone =
          keysSeen < span.keys()
              && !(MobaSpan.isFinite(buffer, 0, dim + valueDim) && span.isFinite());
      if (alone) {
        finish();
      }
      int lane = batched;
      batchLse[lane] = lse.getFloat(t, h);
      batchDelta[lane] = arithmetic.dot(buffer, dim, buffer, dim + valueDim, valueDim);
      seen[lane] = keysSeen;
      Panels.toLane(buffer, 0, dim, queries, lane);
      Panels.toLane(buffer, dim, valueDim, gradients, lane);
      toColumns(buffer, 0, dim, queryRows, lane);
      toColumns(buffer, dim, valueDim, gradientRows, lane);
      batched++;
      if (alone || batched == LANES) {
        finish();
      }
    }

    private void read(Elements elements, long t, int h, int at) {
      arithmetic.read(
          elements.dataType(),
          elements.segment(),
          elements.byteOffset(t, h),
          buffer,
          at,
          Math.toIntExact(elements.size(2)));
    }

    private static void toColumns(float[] row, int from, int width, float[] panels, int lane) {
      for (int c = 0; c < width; c += LANES) {
        int at = (c / LANES * LANES + lane) * LANES;
        System.arraycopy(row, from + c, panels, at, Math.min(LANES, width - c));
      }
    }

    /** Adds the batch's part to the sums. */
    private void finish() {
      if (batched == 0) {
        return;
      }
      int lanes = arithmetic.wholeVectors(batched);
      int most = 0;
      for (int lane = 0; lane < batched; lane++) {
        most = Math.max(most, seen[lane]);
      }
      for (int first = 0; first < most; first += TILE) {
        int keys = Math.min(TILE, most - first);
        boolean all = true;
        for (int lane = 0; lane < LANES; lane++) {
          visible[lane] = seen[lane] - first;
          all &= lane >= batched || visible[lane] >= keys;
        }
        Arrays.fill(scores, 0, keys * LANES, 0);
        Arrays.fill(dp, 0, keys * LANES, 0);
        arithmetic.multiplyRows(
            keys, dim, lanes, span.k, first * span.keyPitch, span.keyPitch, queries, 0, scores, 0);
        arithmetic.multiplyRows(
            keys,
            valueDim,
            lanes,
            span.v,
            first * span.valuePitch,
            span.valuePitch,
            gradients,
            0,
            dp,
            0);
        arithmetic.softmaxGradient(
            scores, dp, keys, lanes, spec.scale(), all ? null : visible, batchLse, batchDelta);
        add(scores, first, keys, gradientRows, valueDim, dvSums);
        add(dp, first, keys, queryRows, dim, dkSums);
      }
      batched = 0;
    }

    private void add(float[] factors, int first, int keys, float[] rows, int width, float[] sums) {
      for (int c = 0; c < width; c += LANES) {
        int lanes = arithmetic.wholeVectors(Math.min(LANES, width - c));
        int panel = c / LANES * LANES * LANES;
        int at = (c / LANES * MOST_KEYS + first) * LANES;
        arithmetic.multiplyRows(keys, batched, lanes, factors, 0, LANES, rows, panel, sums, at);
      }
    }

    private void store(int from, int to) {
      for (int j = 0; j < to - from; j++) {
        long t = (long) sequence.firstRow() + from + j;
        if (dk != null) {
          fromColumns(dkSums, j, dim, spec.scale());
          write(dk, t);
        }
        if (dv != null) {
          fromColumns(dvSums, j, valueDim, 1);
          write(dv, t);
        }
      }
    }

    private void fromColumns(float[] panels, int key, int width, float scale) {
      for (int c = 0; c < width; c++) {
        buffer[c] = panels[(c / LANES * MOST_KEYS + key) * LANES + c % LANES] * scale;
      }
    }

    private void write(Elements elements, long t) {
      arithmetic.write(
          elements.dataType(),
          buffer,
          0,
          elements.segment(),
          elements.byteOffset(t, kvHead),
          Math.toIntExact(elements.size(2)));
    }
  }
}
