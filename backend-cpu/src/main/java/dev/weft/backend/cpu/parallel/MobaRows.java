package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The query rows of a task: some tokens of a sequence, with all heads that share a kv head. Row r
 * is token {@code r / group} of these and head {@code r % group} of the group. Knows which blocks
 * its rows read, and turns that over: which rows read a block. Used for one task after another by
 * one thread.
 */
final class MobaRows {
  private static final int LANES = Arithmetic.LANES;

  // So many rows at most: at D = 128 a task's running sums are 2 MiB, which a batch touches next to
  // never. Fewer rows would load each block's keys and values more often, and leave more batches
  // that are not full.
  private static final int MOST_ROWS = 4096;

  // Arrays of integers of the scratch.
  private static final int PAST = 0;
  private static final int PAST_STARTS = 1;
  private static final int ENDS = 2;
  private static final int READERS = 3;
  private static final int ALL = 4;

  // Of the task. Row r reads past[pastStarts[r]] up to past[pastStarts[r + 1]].
  MobaSequence sequence;
  int kvHead;
  int rows;
  int[] past = new int[0];
  int[] pastStarts = new int[0];

  private final MobaAttentionSpec spec;
  private final TaskScratch scratch;
  private final int group;
  private int firstToken;

  /**
   * Makes rows for some sequences.
   *
   * @param first any of the sequences
   */
  MobaRows(MobaAttentionSpec spec, TaskScratch scratch, MobaSequence first) {
    this.spec = spec;
    this.scratch = scratch;
    sequence = first;
    group = spec.heads() / spec.kvHeads();
  }

  private void be(MobaSequence some, int head, int first, int tokens) {
    sequence = some;
    kvHead = head;
    firstToken = first;
    rows = tokens * group;
    pastStarts = scratch.ints(PAST_STARTS, rows + 1);
    Arrays.fill(pastStarts, 0, rows + 1, 0);
  }

  /** Returns room for the past blocks of all rows, which the caller fills by ascending rows. */
  int[] past(int most) {
    past = scratch.ints(PAST, most);
    return past;
  }

  /**
   * Cuts the queries of all sequences into tasks. No row's result depends on the cut, so it may
   * depend on the threads.
   */
  static final class Cut {
    private final MobaAttentionSpec spec;
    private final List<MobaSequence> sequences;
    private final int tokensPerTask;
    private final int[] firstTask;

    Cut(MobaAttentionSpec spec, List<MobaSequence> sequences, int threads) {
      this.spec = spec;
      this.sequences = sequences;
      int group = spec.heads() / spec.kvHeads();
      long total = 0;
      for (MobaSequence sequence : sequences) {
        total += (long) sequence.queries() * spec.heads();
      }
      int rows = Math.clamp(total / (4L * threads) / LANES * LANES, LANES, MOST_ROWS);
      tokensPerTask = Math.max(1, rows / group);
      firstTask = new int[sequences.size() + 1];
      for (int s = 0; s < sequences.size(); s++) {
        firstTask[s + 1] = firstTask[s] + Math.ceilDiv(sequences.get(s).queries(), tokensPerTask);
      }
    }

    /** For each kv head. */
    int tasks() {
      return firstTask[sequences.size()];
    }

    /** Makes what the rows of one task after another are put into; only where there are tasks. */
    MobaRows newRows(TaskScratch scratch) {
      return new MobaRows(spec, scratch, sequences.getFirst());
    }

    /** Makes rows those of a task and a kv head. */
    void choose(MobaRows rows, int task, int kvHead) {
      int s = sequenceOf(task);
      int first = (task - firstTask[s]) * tokensPerTask;
      MobaSequence sequence = sequences.get(s);
      rows.be(sequence, kvHead, first, Math.min(tokensPerTask, sequence.queries() - first));
    }

    int sequenceOf(int task) {
      int found = Arrays.binarySearch(firstTask, task);
      // Of several sequences that start here all but the last are empty.
      while (found >= 0 && firstTask[found + 1] == firstTask[found]) {
        found++;
      }
      return found < 0 ? -found - 2 : found;
    }
  }

  /** Returns the packed row of a row's token. */
  long token(int row) {
    return (long) sequence.firstRow() + firstToken + row / group;
  }

  int head(int row) {
    return kvHead * group + row % group;
  }

  int position(int row) {
    return sequence.firstPosition() + firstToken + row / group;
  }

  int ownBlock(int row) {
    return position(row) / spec.blockSize();
  }

  /** Reads a row of a [T, H, n] tensor. */
  void read(Arithmetic arithmetic, Elements elements, int row, float[] into, int at) {
    arithmetic.read(
        elements.dataType(),
        elements.segment(),
        elements.byteOffset(token(row), head(row)),
        into,
        at,
        Math.toIntExact(elements.size(2)));
  }

  /** Writes a row of a [T, H, n] tensor. */
  void write(Arithmetic arithmetic, float[] from, int at, Elements elements, int row) {
    arithmetic.write(
        elements.dataType(),
        from,
        at,
        elements.segment(),
        elements.byteOffset(token(row), head(row)),
        Math.toIntExact(elements.size(2)));
  }

  /**
   * Packs some rows of a [T, H, n] tensor as lanes of a panel of n rows; lanes behind them, up to
   * the next multiple of 16, become 0.
   *
   * @param which the rows, from {@code from} on
   * @param buffer n floats for each lane
   */
  void pack(
      Arithmetic arithmetic,
      Elements elements,
      int[] which,
      int from,
      int count,
      float[] panel,
      float[] buffer) {
    int width = Math.toIntExact(elements.size(2));
    // All are read before any is turned, so that the core waits for several at once.
    for (int lane = 0; lane < count; lane++) {
      read(arithmetic, elements, which[from + lane], buffer, lane * width);
    }
    for (int lane = 0; lane < count; lane++) {
      Panels.toLane(buffer, lane * width, width, panel, lane);
    }
    for (int lane = count; lane % 16 != 0; lane++) {
      Panels.clearLane(width, panel, lane);
    }
  }

  /** Takes a given selection, or all past blocks where there is none. */
  void takeSelection(@Nullable Elements selection) {
    if (spec.topK() == 1) {
      return;
    }
    long most = 0;
    for (int r = 0; r < rows; r++) {
      most += selection == null ? ownBlock(r) : selection.size(2);
    }
    int[] blocks = past(Math.toIntExact(most));
    int count = 0;
    for (int r = 0; r < rows; r++) {
      int own = ownBlock(r);
      int slots = selection == null ? own : Math.toIntExact(selection.size(2));
      for (int slot = 0; slot < slots; slot++) {
        int block = selection == null ? slot : selection.getInt(token(r), head(r), slot);
        if (block >= 0 && block < own) {
          blocks[count++] = block;
        }
      }
      pastStarts[r + 1] = count;
    }
  }

  /** Takes the rows that read a block. */
  interface Visitor {
    /**
     * Visits a block.
     *
     * @param readers its rows, from {@code from} up to {@code to}
     * @param own whether it is these rows' own block; else they see all of it
     */
    void visit(int block, int[] readers, int from, int to, boolean own);
  }

  /** Visits all blocks that any row reads, ascending; of each its past readers come first. */
  void eachBlock(Visitor visitor) {
    if (sequence.keys() == 0) {
      return;
    }
    int total = pastStarts[rows];
    int lowest = ownBlock(0);
    int highest = ownBlock(rows - 1);
    for (int i = 0; i < total; i++) {
      lowest = Math.min(lowest, past[i]);
    }
    int blocks = highest - lowest + 1;
    int[] ends = scratch.ints(ENDS, blocks);
    Arrays.fill(ends, 0, blocks, 0);
    for (int i = 0; i < total; i++) {
      ends[past[i] - lowest]++;
    }
    int start = 0;
    for (int i = 0; i < blocks; i++) {
      int count = ends[i];
      ends[i] = start;
      start += count;
    }
    int[] readers = scratch.ints(READERS, total);
    int[] all = scratch.ints(ALL, rows);
    for (int r = 0; r < rows; r++) {
      all[r] = r;
      for (int i = pastStarts[r]; i < pastStarts[r + 1]; i++) {
        readers[ends[past[i] - lowest]++] = r;
      }
    }
    int own = 0;
    for (int i = 0; i < blocks; i++) {
      int from = i == 0 ? 0 : ends[i - 1];
      if (ends[i] > from) {
        visitor.visit(lowest + i, readers, from, ends[i], false);
      }
      int firstOwn = own;
      while (own < rows && ownBlock(own) == lowest + i) {
        own++;
      }
      if (own > firstOwn) {
        visitor.visit(lowest + i, all, firstOwn, own, true);
      }
    }
  }
}
