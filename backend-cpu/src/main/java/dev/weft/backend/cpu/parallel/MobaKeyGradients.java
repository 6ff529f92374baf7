package dev.weft.backend.cpu.parallel;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT_UNALIGNED;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * dk = scale dS^T q and dv = P^T dout, each key's summed over all rows of its group that read it;
 * and, where there is room to keep them, the parts of dq = scale dS k that each block adds. A task
 * is a block, a part of one (then there are no parts of dq), or several small ones of one kv head,
 * whose keys, values and sums stay in the caches while its readers come past in order: those of its
 * own block, then those that selected it.
 *
 * <p>A batch of readers is lanes where scores and dq are computed, and the dimension that is summed
 * over where the others are: there the lanes are columns of dk and dv.
 */
final class MobaKeyGradients {
  private static final int LANES = Arithmetic.LANES;
  private static final int TILE = MobaSpan.TILE;

  // Keys and values, and as many sums, at D = 128: 1 MiB.
  private static final int MOST_KEYS = MobaSpan.MOST_KEYS;

  // Arrays of the scratch.
  private static final int QUERY_ROWS = MobaGradientTile.NEXT_FLOATS;
  private static final int GRADIENT_ROWS = QUERY_ROWS + 1;
  private static final int BUFFER = QUERY_ROWS + 2;
  private static final int DK = QUERY_ROWS + 3;
  private static final int DV = QUERY_ROWS + 4;
  private static final int PART_ROW = QUERY_ROWS + 5;

  private final MobaAttentionSpec spec;
  private final Compute compute;
  private final Arithmetic arithmetic;
  private final List<MobaSequence> sequences;
  private final MobaReaders readers;
  private final MobaBackwardWorkspace workspace;
  private final boolean withParts;
  private final int group;
  private final Elements q;
  private final Elements lse;
  private final Elements dout;
  private final @Nullable Elements dk;
  private final @Nullable Elements dv;

  MobaKeyGradients(
      MobaAttentionSpec spec,
      Compute compute,
      List<MobaSequence> sequences,
      MobaBackward a,
      MobaReaders readers,
      MobaBackwardWorkspace workspace,
      boolean withParts) {
    this.spec = spec;
    this.compute = compute;
    arithmetic = compute.arithmetic();
    this.sequences = sequences;
    this.readers = readers;
    this.workspace = workspace;
    this.withParts = withParts;
    group = spec.heads() / spec.kvHeads();
    q = Elements.of(a.q());
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
        int most = withParts ? end - (int) start : MOST_KEYS;
        for (int from = (int) start; from < end; from += most) {
          pieces.add(new Piece(s, from, Math.min(end, from + most)));
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
            gradients.begin(piece.sequence, fromHead + task % heads, task % heads);
            for (int from = piece.from; from < piece.to; ) {
              int block = from / size;
              long end = Math.min((block + 1L) * size, (long) from + MOST_KEYS);
              int to = (int) Math.min(piece.to, end);
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
    // A batch: as lanes, and as rows in panels of columns.
    private final MobaGradientTile tile;
    private final float[] queryRows;
    private final float[] gradientRows;
    private final float[] buffer;
    private final float[] partRow;
    private final long[] partAt;
    private int s;
    private int kvHead;
    private int headOfPass;
    private MobaSequence sequence;
    private int sees; // keys, of rows that selected the block
    private boolean addsToParts; // those of the block's first keys are there already
    private final MobaReaders.Reader reader = this::readPast;
    private int batched;

    Gradients(TaskScratch scratch) {
      sequence = sequences.getFirst();
      span = new MobaSpan(spec, arithmetic, scratch, sequence, MOST_KEYS);
      dkSums = scratch.floats(DK, columnPanels(dim) * MOST_KEYS * LANES);
      dvSums = scratch.floats(DV, columnPanels(valueDim) * MOST_KEYS * LANES);
      tile = new MobaGradientTile(spec, arithmetic, scratch, span);
      queryRows = scratch.floats(QUERY_ROWS, columnPanels(dim) * LANES * LANES);
      gradientRows = scratch.floats(GRADIENT_ROWS, columnPanels(valueDim) * LANES * LANES);
      buffer = scratch.floats(BUFFER, dim + valueDim);
      partRow = scratch.floats(PART_ROW, 2 * dim);
      partAt = scratch.longs(0, LANES);
    }

    /** Starts on keys of a sequence and kv head. */
    void begin(int number, int head, int inPass) {
      s = number;
      kvHead = head;
      headOfPass = inPass;
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
      Arrays.fill(tile.seen, 0, LANES, span.keys());
      batched = 0;
      addsToParts = from % spec.blockSize() > 0;
      long end = Math.min((block + 1L) * spec.blockSize(), sequence.keys());
      for (int position = from; position < end; position++) {
        for (int g = 0; g < group; g++) {
          read((long) position * group + g, Math.min(to, position + 1) - from, spec.topK() - 1);
        }
      }
      finish();
      sees = to - from;
      readers.each(s, kvHead, block, reader);
      finish();
      store(from, to);
    }

    private void readPast(long row, int slot) {
      read(row, sees, slot);
    }

    /** Adds a reader to the batch. */
    private void read(long row, int keysSeen, int slot) {
      long t = sequence.firstRow() + row / group;
      int h = kvHead * group + (int) (row % group);
      read(q, t, h, 0);
      read(dout, t, h, dim);
      // 0 times what is not finite would be NaN: such a row is a batch of its own.
      boolean alone =
          keysSeen < span.keys()
              && !(MobaSpan.isFinite(buffer, 0, dim + valueDim) && span.isFinite());
      if (alone) {
        finish();
      }
      int lane = batched;
      tile.lse[lane] = lse.getFloat(t, h);
      long inHead = (long) sequence.firstRow() * group + row;
      tile.delta[lane] =
          workspace.segment().get(JAVA_FLOAT_UNALIGNED, workspace.delta(headOfPass, inHead));
      partAt[lane] = workspace.part(headOfPass, inHead, slot);
      tile.seen[lane] = keysSeen;
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

    /** Turned late, so that the core waits for several readers at once. */
    private static void toLane(float[] panels, int width, float[] lanes, int lane) {
      for (int c = 0; c < width; c += LANES) {
        int at = (c / LANES * LANES + lane) * LANES;
        Panels.toLane(panels, at, Math.min(LANES, width - c), lanes, c * LANES + lane);
      }
    }

    /** Adds the batch's part to the sums. */
    private void finish() {
      if (batched == 0) {
        return;
      }
      int most = 0;
      for (int lane = 0; lane < batched; lane++) {
        most = Math.max(most, tile.seen[lane]);
        toLane(queryRows, dim, tile.queries, lane);
        toLane(gradientRows, valueDim, tile.gradients, lane);
      }
      if (withParts) {
        tile.clear();
      }
      for (int first = 0; first < most; first += TILE) {
        int keys = Math.min(TILE, most - first);
        tile.meet(first, keys, batched);
        add(tile.p, first, keys, gradientRows, valueDim, dvSums);
        add(tile.ds, first, keys, queryRows, dim, dkSums);
        if (withParts) {
          tile.addToQueries(first, keys, batched);
        }
      }
      for (int lane = 0; withParts && lane < batched; lane++) {
        keepPart(lane);
      }
      batched = 0;
    }

    private void keepPart(int lane) {
      Panels.toRow(tile.dq, lane, dim, partRow, 0);
      if (addsToParts) {
        arithmetic.read(DataType.F32, workspace.segment(), partAt[lane], partRow, dim, dim);
        arithmetic.addScaled(1, partRow, dim, partRow, 0, dim);
      }
      arithmetic.write(DataType.F32, partRow, 0, workspace.segment(), partAt[lane], dim);
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
