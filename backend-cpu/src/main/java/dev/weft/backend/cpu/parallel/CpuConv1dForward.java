package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import org.jspecify.annotations.Nullable;

/**
 * One forward or update call. A task walks one sequence for a range of channels, with the last W
 * rows in a window, and then writes the slot's columns of these channels; it reads each token
 * before it writes that token's output, since out may be x.
 */
final class CpuConv1dForward {
  private final CausalConv1dSpec spec;
  private final CpuConv1d.Taps taps;
  private final Elements x;
  private final Elements out;
  private final @Nullable Elements cuSeqlens;
  private final @Nullable Elements states;
  private final @Nullable Elements cacheIndices;
  private final @Nullable Elements hasInitialState;
  private final @Nullable Elements cacheSeqlens;
  private final @Nullable Elements numAccepted;
  private final @Nullable Elements initialStatesOut;

  CpuConv1dForward(CausalConv1dSpec spec, Conv1dForward a, CpuConv1d.Taps taps) {
    this.spec = spec;
    this.taps = taps;
    x = Elements.of(a.x());
    out = Elements.of(a.out());
    cuSeqlens = Elements.of(a.cuSeqlens());
    states = elements(a.states());
    cacheIndices = elements(a.cacheIndices());
    hasInitialState = elements(a.hasInitialState());
    cacheSeqlens = elements(a.cacheSeqlens());
    numAccepted = null;
    initialStatesOut = elements(a.initialStatesOut());
  }

  CpuConv1dForward(CausalConv1dSpec spec, Conv1dUpdate a, CpuConv1d.Taps taps) {
    this.spec = spec;
    this.taps = taps;
    x = Elements.of(a.x());
    out = Elements.of(a.out());
    cuSeqlens = elements(a.cuSeqlens());
    states = Elements.of(a.states());
    cacheIndices = Elements.of(a.cacheIndices());
    hasInitialState = null;
    cacheSeqlens = elements(a.cacheSeqlens());
    numAccepted = elements(a.numAccepted());
    initialStatesOut = null;
  }

  private static @Nullable Elements elements(@Nullable Tensor tensor) {
    return tensor == null ? null : Elements.of(tensor);
  }

  int count() {
    return Math.toIntExact(cuSeqlens == null ? x.size(0) : cuSeqlens.size(0) - 1);
  }

  void run(int b, int from, int channels) {
    long start = 0;
    long length = x.size(1);
    if (cuSeqlens != null) {
      // Clamped, so that no content of cu_seqlens leads out of the rows.
      start = Math.clamp(cuSeqlens.getInt(b), 0, x.size(0));
      length = Math.clamp(cuSeqlens.getInt(b + 1L), start, x.size(0)) - start;
    }
    Slot slot = slot(b, length);
    int history = spec.width() - 1;
    float[][] window = new float[spec.width()][channels];
    if (slot != null && !slot.fresh) {
      slot.readHistory(window, from, channels);
    }
    if (initialStatesOut != null) {
      for (int j = 0; j < history; j++) {
        initialStatesOut.setAlong(1, channels, window[j], 0, b, from, j);
      }
    }
    if (length == 0) {
      return;
    }
    float[] row = new float[channels];
    if (slot == null && states != null) { // skipped
      for (long t = 0; t < length; t++) {
        set(b, start + t, t, from, channels, row);
      }
      return;
    }
    Tail tail = slot == null ? null : new Tail(slot, window, length, channels);
    for (long t = 0; t < length; t++) {
      int oldest = (int) (t % spec.width());
      float[] newest = window[(oldest + history) % spec.width()];
      get(b, start + t, t, from, channels, newest);
      if (tail != null) {
        tail.keep(t, newest);
      }
      taps.apply(window, oldest, from, channels, row);
      CpuConv1d.activate(spec.activation(), row, channels);
      set(b, start + t, t, from, channels, row);
    }
    if (slot != null && tail != null) {
      slot.write(tail, length, from, channels);
    }
  }

  private void get(int b, long row, long t, int from, int channels, float[] into) {
    if (x.rank() == 3) {
      x.copyAlong(2, channels, into, 0, b, t, from);
    } else {
      x.copyAlong(1, channels, into, 0, row, from);
    }
  }

  private void set(int b, long row, long t, int from, int channels, float[] values) {
    if (out.rank() == 3) {
      out.setAlong(2, channels, values, 0, b, t, from);
    } else {
      out.setAlong(1, channels, values, 0, row, from);
    }
  }

  /** Returns a sequence's slot; null without states, or if the sequence is skipped. */
  private @Nullable Slot slot(int b, long length) {
    if (states == null || cacheIndices == null) {
      return null;
    }
    int index = cacheIndices.getInt(b);
    if (index == spec.padSlotId() || index < 0 || index >= states.size(0)) {
      return null;
    }
    boolean fresh = hasInitialState != null && hasInitialState.getInt(b) == 0;
    int width = spec.width();
    long columns = states.size(2);
    if (cacheSeqlens != null) {
      return new Slot(
          states, width - 1, index, fresh, cacheSeqlens.getInt(b) - (width - 1L), true, false);
    }
    if (numAccepted != null) {
      int accepted = numAccepted.getInt(b);
      boolean fits =
          accepted >= 1 && (long) accepted + width - 2 <= columns && width - 2 + length <= columns;
      return fits ? new Slot(states, width - 1, index, fresh, accepted - 1L, false, true) : null;
    }
    return new Slot(states, width - 1, index, fresh, columns - (width - 1), false, false);
  }

  /** What the slot will need of the history and the tokens, kept aside as they go by. */
  private static final class Tail {
    private final float[][] rows;
    private final long first;

    Tail(Slot slot, float[][] window, long length, int channels) {
      int history = window.length - 1;
      int rowsKept;
      if (slot.speculative) {
        // The history without its oldest column, then all tokens: they fit the slot.
        rowsKept = Math.toIntExact(history - 1 + length);
        first = -(history - 1L);
      } else {
        rowsKept = (int) Math.min(slot.columns, length);
        first = length - rowsKept;
      }
      rows = new float[rowsKept][channels];
      for (int j = 0; slot.speculative && j < history - 1; j++) {
        System.arraycopy(window[j + 1], 0, rows[j], 0, channels);
      }
    }

    void keep(long t, float[] row) {
      if (t >= first) {
        System.arraycopy(row, 0, rows[(int) (t - first)], 0, row.length);
      }
    }
  }

  /** A slot's columns. */
  private static final class Slot {
    private final Elements states;
    private final int history;
    private final int index;
    private final boolean fresh;
    private final long historyColumn;
    private final boolean ring;
    private final boolean speculative;
    private final int columns;

    Slot(
        Elements states,
        int history,
        int index,
        boolean fresh,
        long historyColumn,
        boolean ring,
        boolean speculative) {
      this.states = states;
      this.history = history;
      this.index = index;
      this.fresh = fresh;
      this.historyColumn = historyColumn;
      this.ring = ring;
      this.speculative = speculative;
      columns = Math.toIntExact(states.size(2));
    }

    void readHistory(float[][] window, int from, int channels) {
      for (int j = 0; j < window.length - 1; j++) {
        read(column(historyColumn + j), window[j], from, channels);
      }
    }

    void write(Tail tail, long length, int from, int channels) {
      float[][] rows = tail.rows;
      if (speculative) {
        for (int s = 0; s < rows.length; s++) {
          set(s, rows[s], from, channels);
        }
      } else if (ring) {
        if (fresh) {
          for (int s = 0; s < columns; s++) {
            set(s, new float[channels], from, channels);
          }
        }
        long end = historyColumn + history + length; // the position behind the last token
        for (int i = 0; i < rows.length; i++) {
          set(column(end - rows.length + i), rows[i], from, channels);
        }
      } else {
        int kept = columns - rows.length;
        float[] moved = new float[channels];
        for (int s = 0; s < kept; s++) {
          if (!fresh) {
            read(s + rows.length, moved, from, channels);
          }
          set(s, moved, from, channels);
        }
        for (int i = 0; i < rows.length; i++) {
          set(kept + i, rows[i], from, channels);
        }
      }
    }

    private long column(long position) {
      return ring ? Math.floorMod(position, columns) : position;
    }

    private void read(long column, float[] into, int from, int channels) {
      states.copyAlong(1, channels, into, 0, index, from, column);
    }

    private void set(long column, float[] values, int from, int channels) {
      states.setAlong(1, channels, values, 0, index, from, column);
    }
  }
}
