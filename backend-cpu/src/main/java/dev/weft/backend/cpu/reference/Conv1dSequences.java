package dev.weft.backend.cpu.reference;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import org.jspecify.annotations.Nullable;

/**
 * The sequences of a forward or update call: where their tokens lie, the history that each starts
 * from, and what each leaves in its slot.
 *
 * <p>Four forms of state, S columns for each channel:
 *
 * <ul>
 *   <li>none: the history is zero and nothing is left;
 *   <li>shifting: the last W-1 columns are the history, oldest first; L new tokens shift the slot
 *       by L;
 *   <li>ring: position p lies in column p mod S, also for the (never written) positions before 0;
 *   <li>speculative (update with numAccepted = a): columns a-1 .. a+W-3 are the history; afterwards
 *       the first W-2+L columns are that history without its oldest column, then the new tokens,
 *       and the columns beyond are as they were. A slot that is too short for either is skipped.
 * </ul>
 *
 * <p>A sequence is skipped if its cache index is the spec's pad id or no slot. One without an
 * initial state (forward only) starts from zeros, and so does its whole slot: columns that no new
 * token reaches become zero. A sequence of length 0 leaves its slot alone. A cu_seqlens that does
 * not ascend within the rows is clamped: nothing is ever read or written out of bounds.
 */
final class Conv1dSequences {
  private final int width;
  private final Elements x;
  private final int count;
  private final long[] starts;
  private final long[] lengths;
  private final long[] slots;
  private final boolean[] skipped;
  private final boolean[] fresh;
  private final @Nullable Elements states;
  private final @Nullable Elements cacheSeqlens;
  private final @Nullable Elements numAccepted;

  private Conv1dSequences(
      CausalConv1dSpec spec,
      Tensor x,
      @Nullable Tensor cuSeqlens,
      @Nullable Tensor states,
      @Nullable Tensor cacheIndices,
      @Nullable Tensor hasInitialState,
      @Nullable Tensor cacheSeqlens,
      @Nullable Tensor numAccepted) {
    this.width = spec.width();
    this.x = Elements.of(x);
    this.states = elements(states);
    this.cacheSeqlens = elements(cacheSeqlens);
    this.numAccepted = elements(numAccepted);
    count = Math.toIntExact(cuSeqlens == null ? x.size(0) : cuSeqlens.size(0) - 1);
    starts = new long[count];
    lengths = new long[count];
    slots = new long[count];
    skipped = new boolean[count];
    fresh = new boolean[count];
    Elements cu = elements(cuSeqlens);
    Elements indices = elements(cacheIndices);
    Elements initial = elements(hasInitialState);
    for (int b = 0; b < count; b++) {
      if (cu == null) {
        lengths[b] = x.size(1);
      } else {
        starts[b] = Math.clamp(cu.getInt(b), 0, x.size(0));
        lengths[b] = Math.clamp(cu.getInt(b + 1L), starts[b], x.size(0)) - starts[b];
      }
      if (indices == null) {
        continue;
      }
      slots[b] = indices.getInt(b);
      fresh[b] = initial != null && initial.getInt(b) == 0;
      skipped[b] =
          slots[b] == spec.padSlotId() || slots[b] < 0 || slots[b] >= slotCount() || !acceptable(b);
    }
  }

  static Conv1dSequences of(CausalConv1dSpec spec, Conv1dForward a) {
    return new Conv1dSequences(
        spec,
        a.x(),
        a.cuSeqlens(),
        a.states(),
        a.cacheIndices(),
        a.hasInitialState(),
        a.cacheSeqlens(),
        null);
  }

  static Conv1dSequences of(CausalConv1dSpec spec, Conv1dUpdate a) {
    return new Conv1dSequences(
        spec,
        a.x(),
        a.cuSeqlens(),
        a.states(),
        a.cacheIndices(),
        null,
        a.cacheSeqlens(),
        a.numAccepted());
  }

  /** Returns B. */
  int count() {
    return count;
  }

  /** Returns the number of tokens of a sequence. */
  long length(int b) {
    return lengths[b];
  }

  /** Tells whether a sequence's out rows are zero and its slot stays as it is. */
  boolean skipped(int b) {
    return skipped[b];
  }

  /** Returns a sequence's slot; meaningful if there are states and it is not skipped. */
  long slot(int b) {
    return slots[b];
  }

  /** Returns S. */
  int columns() {
    return states == null ? 0 : Math.toIntExact(states.size(2));
  }

  /** Returns a channel's history followed by its tokens: W-1 + L values. */
  double[] extended(int b, long channel) {
    int length = Math.toIntExact(lengths[b]);
    double[] result = new double[width - 1 + length];
    for (int j = 0; j < width - 1; j++) {
      result[j] = history(b, channel, j);
    }
    for (int i = 0; i < length; i++) {
      result[width - 1 + i] = x.rank() == 3 ? x.get(b, i, channel) : x.get(starts[b] + i, channel);
    }
    return result;
  }

  /** Returns column j of W-1, oldest first, of what a sequence starts from. */
  double history(int b, long channel, int j) {
    if (states == null || skipped[b] || fresh[b]) {
      return 0;
    }
    long column;
    if (cacheSeqlens != null) {
      column = Math.floorMod(cacheSeqlens.getInt(b) - (width - 1L) + j, states.size(2));
    } else if (numAccepted != null) {
      column = numAccepted.getInt(b) - 1L + j;
    } else {
      column = states.size(2) - (width - 1) + j;
    }
    return states.get(slots[b], channel, column);
  }

  /**
   * Returns a channel's S columns after the call, not yet rounded to the states' type.
   *
   * @param b a sequence that is not skipped, with states
   * @param channel the channel
   * @param extended as {@link #extended} gave before anything was written
   */
  double[] slotAfter(int b, long channel, double[] extended) {
    int columns = columns();
    int length = extended.length - (width - 1);
    double[] before = new double[columns];
    for (int s = 0; states != null && s < columns; s++) {
      before[s] = states.get(slots[b], channel, s);
    }
    if (length == 0) {
      return before;
    }
    double[] after = new double[columns];
    if (!fresh[b]) {
      System.arraycopy(before, 0, after, 0, columns);
    }
    if (cacheSeqlens != null) {
      for (int i = 0; i < length; i++) {
        after[Math.floorMod(cacheSeqlens.getInt(b) + (long) i, columns)] = extended[width - 1 + i];
      }
    } else if (numAccepted != null) {
      System.arraycopy(extended, 1, after, 0, width - 2 + length);
    } else {
      for (int s = 0; s < columns; s++) {
        int from = s + length; // in the old columns followed by the tokens
        if (from >= columns) {
          after[s] = extended[width - 1 + from - columns];
        } else {
          after[s] = fresh[b] ? 0 : before[from];
        }
      }
    }
    return after;
  }

  /** Writes, or hands over, one value of out. */
  void setOut(Elements out, int b, long i, long channel, double value) {
    if (out.rank() == 3) {
      out.set(b, i, channel, value);
    } else {
      out.set(starts[b] + i, channel, value);
    }
  }

  /** Returns the row of a token in x seen as a matrix [rows, C]. */
  long row(int b, long i) {
    return x.rank() == 3 ? b * x.size(1) + i : starts[b] + i;
  }

  private long slotCount() {
    return states == null ? 0 : states.size(0);
  }

  private boolean acceptable(int b) {
    if (numAccepted == null || states == null) {
      return true;
    }
    long accepted = numAccepted.getInt(b);
    long columns = states.size(2);
    return accepted >= 1 && accepted + width - 2 <= columns && width - 2 + lengths[b] <= columns;
  }

  private static @Nullable Elements elements(@Nullable Tensor tensor) {
    return tensor == null ? null : Elements.of(tensor);
  }
}
