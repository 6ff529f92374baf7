package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * One forward or update call. A task walks one sequence, or a part of a long one, for a range of
 * channels: some rows at a time, behind the last W - 1 of those before. Those of a forward call are
 * computed where they lie; an update reads rows before it writes their outputs, since out may be x.
 * Where one task has the whole sequence it then writes the slot's columns; those of sequences in
 * parts are written once all parts are done, since the first part reads the slot.
 */
final class CpuConv1dForward {
  // Tokens of a part; more than any window.
  private static final int PART = 256;

  // Rows at a time, and channels: the rows stay in the caches nearest to the core, and a row's
  // piece fills a page.
  private static final int ROWS = 8;
  private static final int MOST_CHANNELS = 1024;
  private static final int LEAST_CHANNELS = 64;

  // Rows a power of two apart would all fall into the same few sets of the cache.
  private static final int PADDING = 16;

  // Arrays of the scratch.
  private static final int IN = 0;
  private static final int OUT = 1;
  private static final int TAIL = 2;
  private static final int COLUMN = 3;

  private final CausalConv1dSpec spec;
  private final Compute compute;
  private final Arithmetic arithmetic;
  private final Conv1dTaps taps;
  private final TaskScratch launch;
  private final boolean silu;
  private final boolean mayCut;
  private final Elements x;
  private final Elements out;
  private final @Nullable Elements cuSeqlens;
  private final @Nullable Elements states;
  private final @Nullable Elements cacheIndices;
  private final @Nullable Elements hasInitialState;
  private final @Nullable Elements cacheSeqlens;
  private final @Nullable Elements numAccepted;
  private final @Nullable Elements initialStatesOut;

  CpuConv1dForward(
      CausalConv1dSpec spec,
      Compute compute,
      Conv1dForward a,
      Conv1dTaps taps,
      TaskScratch launch) {
    this.spec = spec;
    this.compute = compute;
    arithmetic = compute.arithmetic();
    this.taps = taps;
    this.launch = launch;
    silu = spec.activation() == Activation.SILU;
    mayCut = true;
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

  CpuConv1dForward(
      CausalConv1dSpec spec, Compute compute, Conv1dUpdate a, Conv1dTaps taps, TaskScratch launch) {
    this.spec = spec;
    this.compute = compute;
    arithmetic = compute.arithmetic();
    this.taps = taps;
    this.launch = launch;
    silu = spec.activation() == Activation.SILU;
    mayCut = false; // out may be x
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

  // What a part is: the sequence's number, its first row, its length, the part's number, and how
  // many parts the sequence is cut into.
  private static final int SEQUENCE = 0;
  private static final int START = 1;
  private static final int LENGTH = 2;
  private static final int NUMBER = 3;
  private static final int OF = 4;

  void run() {
    IntRows parts = launch.rows(0);
    IntRows cut = launch.rows(1); // sequences in several parts, by their first ones
    int count = Math.toIntExact(cuSeqlens == null ? x.size(0) : cuSeqlens.size(0) - 1);
    for (int b = 0; b < count; b++) {
      addParts(b, parts, cut);
    }
    int range = rangeOfChannels(parts.count());
    int ranges = Math.ceilDiv(spec.channels(), range);
    // A task takes several parts where there are very many.
    int perTask = (int) ((((long) parts.count() * ranges) >>> 20) + 1);
    compute.run(
        Math.ceilDiv(parts.count(), perTask) * ranges,
        (task, scratch) -> {
          int from = task % ranges * range;
          int channels = Math.min(range, spec.channels() - from);
          int first = task / ranges * perTask;
          for (int part = first; part < Math.min(parts.count(), first + perTask); part++) {
            convolve(parts, part, from, channels, scratch);
          }
        });
    compute.run(
        cut.count() * ranges,
        (task, scratch) -> {
          int from = task % ranges * range;
          int channels = Math.min(range, spec.channels() - from);
          writeSlot(cut, task / ranges, from, channels, scratch);
        });
  }

  private void addParts(int b, IntRows parts, IntRows cut) {
    long start = 0;
    long length = x.size(1);
    if (cuSeqlens != null) {
      // Clamped, so that no content of cu_seqlens leads out of the rows.
      start = Math.clamp(cuSeqlens.getInt(b), 0, x.size(0));
      length = Math.clamp(cuSeqlens.getInt(b + 1L), start, x.size(0)) - start;
    }
    boolean isLong = mayCut && length >= 2 * PART && spec.width() <= PART;
    int number = isLong ? Math.toIntExact(length / PART) : 1;
    for (int part = 0; part < number; part++) {
      parts.add(b, (int) start, Math.toIntExact(length), part, number);
    }
    if (number > 1) {
      cut.add(b, (int) start, Math.toIntExact(length), 0, number);
    }
  }

  private int rangeOfChannels(int parts) {
    long each = (long) spec.channels() * Math.max(1, parts) / (4L * compute.threads());
    return Math.clamp(Math.ceilDiv(each, 64L) * 64, LEAST_CHANNELS, MOST_CHANNELS);
  }

  private void convolve(IntRows parts, int part, int from, int channels, TaskScratch scratch) {
    int b = parts.get(part, SEQUENCE);
    int start = parts.get(part, START);
    long length = parts.get(part, LENGTH);
    int number = parts.get(part, NUMBER);
    boolean isCut = parts.get(part, OF) > 1;
    int history = spec.width() - 1;
    long first = (long) number * PART;
    long last = number == parts.get(part, OF) - 1 ? length : first + PART;
    Slot slot = slot(b, length);
    Conv1dRows rows = new Conv1dRows(arithmetic, x, b, start);
    Conv1dRows outputs = new Conv1dRows(arithmetic, out, b, start);
    int pitch = channels + PADDING;
    float[] in = scratch.floats(IN, (history + ROWS) * pitch);
    float[] results = scratch.floats(OUT, ROWS * pitch);
    if (first > 0) {
      for (int j = 0; j < history; j++) {
        rows.read(first - history + j, from, channels, in, j * pitch);
      }
    } else {
      readHistory(slot, from, channels, in);
      for (int j = 0; initialStatesOut != null && j < history; j++) {
        initialStatesOut.setAlong(1, channels, in, j * pitch, b, from, j);
      }
    }
    if (slot == null && states != null) { // skipped
      Arrays.fill(results, 0, channels, 0);
      for (long t = first; t < last; t++) {
        outputs.write(t, from, channels, results, 0);
      }
      return;
    }
    Tail tail =
        slot == null || length == 0 || isCut
            ? null
            : new Tail(slot, history, length, channels, in, scratch);
    // Windows of the first rows reach into the history; those of others lie in x, which stays.
    long near = first > 0 ? first : Math.min(last, ROWS);
    stage(rows, outputs, first, near, from, channels, in, results, tail);
    if (mayCut && stream(rows, outputs, near, last, from, channels)) {
      if (tail != null) {
        for (long t = Math.max(near, tail.first); t < last; t++) {
          rows.read(t, from, channels, in, 0);
          tail.keep(t, in, 0);
        }
      }
    } else {
      stage(rows, outputs, near, last, from, channels, in, results, tail);
    }
    if (slot != null && tail != null) {
      slot.write(tail, length, from, channels, scratch.floats(COLUMN, channels));
    }
  }

  /** Computes rows where they lie, if there is a loop for that. */
  private boolean stream(
      Conv1dRows rows, Conv1dRows outputs, long first, long last, int from, int channels) {
    int width = spec.width();
    for (long t = first; t < last; t += ROWS) {
      boolean done =
          arithmetic.convolveInMemory(
              rows.matrix(),
              t - width + 1,
              outputs.matrix(),
              t,
              (int) Math.min(ROWS, last - t),
              width,
              from,
              channels,
              taps.values(),
              taps.pitch(),
              silu);
      if (!done) {
        return false; // the first time already
      }
    }
    return true;
  }

  /** Computes rows in buffers, behind the history that lies there and stays up to date. */
  private void stage(
      Conv1dRows rows,
      Conv1dRows outputs,
      long first,
      long last,
      int from,
      int channels,
      float[] in,
      float[] results,
      @Nullable Tail tail) {
    int history = spec.width() - 1;
    int pitch = channels + PADDING;
    for (long t = first; t < last; t += ROWS) {
      int some = (int) Math.min(ROWS, last - t);
      for (int r = 0; r < some; r++) {
        rows.read(t + r, from, channels, in, (history + r) * pitch);
        if (tail != null) {
          tail.keep(t + r, in, (history + r) * pitch);
        }
      }
      arithmetic.convolve(
          in,
          0,
          pitch,
          some,
          spec.width(),
          channels,
          taps.values(),
          from,
          taps.pitch(),
          silu,
          results,
          0,
          pitch);
      for (int r = 0; r < some; r++) {
        outputs.write(t + r, from, channels, results, r * pitch);
      }
      System.arraycopy(in, some * pitch, in, 0, history * pitch);
    }
  }

  private void readHistory(@Nullable Slot slot, int from, int channels, float[] in) {
    int pitch = channels + PADDING;
    Arrays.fill(in, 0, (spec.width() - 1) * pitch, 0);
    for (int j = 0; slot != null && !slot.fresh && j < spec.width() - 1; j++) {
      slot.read(slot.column(slot.historyColumn + j), in, j * pitch, from, channels);
    }
  }

  /** Writes the slot of a sequence in parts. */
  private void writeSlot(
      IntRows sequences, int sequence, int from, int channels, TaskScratch scratch) {
    int b = sequences.get(sequence, SEQUENCE);
    long length = sequences.get(sequence, LENGTH);
    Slot slot = slot(b, length);
    if (slot == null) {
      return;
    }
    int history = spec.width() - 1;
    float[] in = scratch.floats(IN, history * channels);
    Tail tail = new Tail(slot, history, length, channels, in, scratch);
    Conv1dRows rows = new Conv1dRows(arithmetic, x, b, sequences.get(sequence, START));
    for (long t = Math.max(0, tail.first); t < length; t++) {
      rows.read(t, from, channels, in, 0);
      tail.keep(t, in, 0);
    }
    slot.write(tail, length, from, channels, scratch.floats(COLUMN, channels));
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
    private final int channels;
    private final int count;
    private final long first;
    private final float[] rows;

    Tail(Slot slot, int history, long length, int channels, float[] in, TaskScratch scratch) {
      this.channels = channels;
      if (slot.speculative) {
        // The history without its oldest column, then all tokens: they fit the slot.
        count = Math.toIntExact(history - 1 + length);
        first = -(history - 1L);
      } else {
        count = (int) Math.min(slot.columns, length);
        first = length - count;
      }
      rows = scratch.floats(TAIL, count * channels);
      if (slot.speculative) {
        for (int j = 1; j < history; j++) {
          System.arraycopy(in, j * (channels + PADDING), rows, (j - 1) * channels, channels);
        }
      }
    }

    void keep(long t, float[] row, int at) {
      if (t >= first) {
        System.arraycopy(row, at, rows, (int) (t - first) * channels, channels);
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

    void write(Tail tail, long length, int from, int channels, float[] column) {
      int count = tail.count;
      if (speculative) {
        for (int s = 0; s < count; s++) {
          set(s, tail.rows, s * channels, from, channels);
        }
      } else if (ring) {
        if (fresh) {
          Arrays.fill(column, 0, channels, 0);
          for (int s = 0; s < columns; s++) {
            set(s, column, 0, from, channels);
          }
        }
        long end = historyColumn + history + length; // the position behind the last token
        for (int i = 0; i < count; i++) {
          set(column(end - count + i), tail.rows, i * channels, from, channels);
        }
      } else {
        int kept = columns - count;
        Arrays.fill(column, 0, channels, 0);
        for (int s = 0; s < kept; s++) {
          if (!fresh) {
            read(s + count, column, 0, from, channels);
          }
          set(s, column, 0, from, channels);
        }
        for (int i = 0; i < count; i++) {
          set(kept + i, tail.rows, i * channels, from, channels);
        }
      }
    }

    long column(long position) {
      return ring ? Math.floorMod(position, columns) : position;
    }

    void read(long column, float[] into, int at, int from, int channels) {
      states.copyAlong(1, channels, into, at, index, from, column);
    }

    private void set(long column, float[] values, int at, int from, int channels) {
      states.setAlong(1, channels, values, at, index, from, column);
    }
  }
}
