#version 460
// Causal conv1d, forward: packed sequences, states in and out, one launch, no host read.
//
// Work. A work-item owns VECTOR neighbouring channels and walks a tile of `tile` tokens; the window of the last W-1
// rows, the taps and the bias stay in registers as F32. The work-items of one tile run together: full rows, and the W-1
// rows before a tile are in cache. Rows are worked on in turns, while those of the next turn are on their way to registers.
// No barriers.
//
// Owner rule. A tile boundary inside the first W-1 tokens of a sequence moves to their end. So the tile in which a
// sequence starts is the only one that reads its state, and the same one writes the new state (from the last rows of x):
// slots are updated in place without a second launch.
//
// Empty sequences own no token; work-items beyond the tiles write their initial_out, where that is asked for.
#include "states.glsl"

STORED_ARGUMENTS {
  READS(x);                // [T, C]
  WRITES(result);          // [T, C]
  READS(weights);          // packed, see rows.glsl
  READS(cu_seqlens);       // [B + 1] int
  READS(cache_indices);    // [B] int; none: no states
  READS(has_initial);      // [B] bytes
  READS(positions);        // [B] int; none: states shift, else they are rings
  STATES(states);          // [slots, C, S]
  STATES(initial_out);     // [B, C, W-1]; none: not asked for
  int64_t x_pitch;
  int64_t out_pitch;
  int64_t weight_pitch;
  int64_t slots;
  int tokens;
  int sequences;
  int state_columns;
  int tile;
  int tiles;
  int items;
  int pad_slot;
  int silu;
  int width;
  int x_type;
  int state_type;
  int empty_per_item;
};
TAKES_ARGUMENTS;

// What a sequence starts from.
void history(PLACED_STATES, int columns, bool had, bool ring, int64_t position, int first, int type, out Row rows[KEPT]) {
  if (!had) {
    no_rows(rows);
  } else if (ring) {
    [[unroll]] for (int j = 0; j < KEPT; j++) {
      rows[j] = Row(0);
      if (j >= first) rows[j] = get_column(base, origin, channel, column, mode, ring_column(position - KEPT + j, columns), type);
    }
  } else {
    get_columns(base, origin, channel, column, mode, columns - (KEPT - first), first, type, rows);
  }
}

// Writes what a sequence of `count` tokens, whose rows begin at element x_first of x, leaves behind; `rows` is what it
// started from.
void keep(PLACED_STATES, int columns, bool had, bool ring, int64_t position, int first, int type, Row rows[KEPT],
          uint64_t x, int64_t x_first, int64_t x_pitch, int x_type, int count) {
  if (ring) {
    for (int i = max(0, count - columns); i < count; i++) {
      Row row = converted(load_row(x, x_first + i * x_pitch, x_type), x_type, type);
      put_column(base, origin, channel, column, mode, ring_column(position + i, columns), row, type);
    }
    if (!had) {
      for (int i = count; i < columns; i++) {
        put_column(base, origin, channel, column, mode, ring_column(position + i, columns), Row(0), type);
      }
    }
  } else if (columns == KEPT - first) {
    Row last[KEPT];
    [[unroll]] for (int j = 0; j < KEPT; j++) last[j] = rows[j];
    [[unroll]] for (int k = 0; k < KEPT; k++) {
      int i = count - KEPT + k;
      if (i >= 0 && k >= first) append(last, converted(load_row(x, x_first + i * x_pitch, x_type), x_type, type), first);
    }
    put_columns(base, origin, channel, column, mode, first, type, last);
  } else {
    for (int j = 0; j < columns; j++) {  // ascending: a column is read before it is overwritten
      int64_t from = int64_t(j) + count;
      Row row = Row(0);
      if (from >= columns) {
        row = converted(load_row(x, x_first + (from - columns) * x_pitch, x_type), x_type, type);
      } else if (had) {
        row = get_column(base, origin, channel, column, mode, from, type);
      }
      put_column(base, origin, channel, column, mode, j, row, type);
    }
  }
}

// Some rows of x.
struct Rows {
  uint64_t base;
  int64_t step;  // bytes from row to row
  int count, type;
};

// Row i, or the last.
Row row_at(Rows rows, int i) {
  return load_constant(rows.base + uint64_t(uint(min(i, rows.count - 1))) * uint64_t(rows.step), rows.type);
}

// A row of a turn; a macro, as it may leave the loop. The branch before it keeps what a row's arithmetic needs in
// registers to that row.
#define ROW(u)                                                             \
  if (u < TURN) {                                                          \
    if (u > 0 && u >= count) break;                                        \
    const Values now = widen_row(taken[u], x.type);                        \
    const Values y = convolve(taps, bias, window, now);                    \
    store_row(result, 0, output_row(y, silu, x.type), x.type);             \
    result += uint64_t(out_step);                                          \
    shift(window, now, first);                                             \
  }

// `count` rows of x from the i-th on, a turn after the other, while the next turn's set out. Drivers copy what a loop
// carries, and so wait for it, where a turn ends: that is why a turn is long and its loads come first. `silu` is a
// constant wherever this is called.
void walk(Values taps[TAPS], Values bias, bool silu, inout Row ahead[TURN], Rows x, int i, int count,
          inout Values window[KEPT], int first, uint64_t result, int64_t out_step) {
  [[dont_unroll]] for (; count > 0; count -= TURN) {
    Row taken[TURN];
    i += TURN;
    [[unroll]] for (int u = 0; u < TURN; u++) {
      taken[u] = ahead[u];
      ahead[u] = row_at(x, i + u);
    }
    ROW(0)
    ROW(1)
    ROW(2)
    ROW(3)
#if VECTOR > 1
    ROW(4)
    ROW(5)
#endif
  }
}

void main() {
  const int first = FIXED ? 0 : TAPS - a.width;
  const int x_type = FIXED ? TYPE : a.x_type, type = FIXED ? TYPE : a.state_type;
  const int tokens = a.tokens, sequences = a.sequences;
  const bool silu = a.silu != 0;
  int c;
  const int number = tile_of(global_id(), a.items, c);  // of the tile
  const uint64_t cu = a.cu_seqlens;
  const bool with_states = GIVEN(cache_indices), ring = GIVEN(positions);

  if (number >= a.tiles) {
    if (!GIVEN(initial_out)) return;
    int64_t begin = int64_t(number - a.tiles) * a.empty_per_item;
    int limit = int(min(begin + a.empty_per_item, int64_t(sequences)));
    for (int s = int(min(begin, int64_t(sequences))); s < limit; s++) {
      if (start_of(cu, s, tokens) < start_of(cu, s + 1, tokens)) continue;
      int slot = slot_of(a.cache_indices, s, a.pad_slot, a.slots);
      bool had = slot >= 0 && load_byte(a.has_initial, s) != 0u;
      int64_t position = ring ? load_int(a.positions, s) : 0;
      Row rows[KEPT];
      history(SLOT(states, slot, c), a.state_columns, had, ring, position, first, type, rows);
      put_columns(SLOT(initial_out, s, c), first, type, rows);
    }
    return;
  }

  const int from = number * a.tile, to = int(min(int64_t(from) + a.tile, int64_t(tokens)));
  const int64_t x_step = a.x_pitch * element(x_type), out_step = a.out_pitch * element(x_type);
  // Rows and taps do not depend on the search: let them travel meanwhile. (Padding rows may be loaded, but nothing is
  // computed from them.)
  const int reach = max(from - KEPT, 0);
  Rows x = Rows(a.x + uint64_t(reach * x_step + c * element(x_type)), x_step, to - reach, x_type);
  Row before[KEPT], ahead[TURN];
  Values taps[TAPS], bias;
  [[unroll]] for (int j = 0; j < KEPT; j++) {
    if (j >= first) before[j] = row_at(x, max(from - KEPT + j, 0) - reach);
  }
  [[unroll]] for (int u = 0; u < TURN; u++) ahead[u] = row_at(x, from - reach + u);
  load_taps(a.weights, a.weight_pitch, c, first, taps, bias);

  int s = max(sequence_of(cu, sequences, from), 0);
  if (s >= sequences) return;
  int start = start_of(cu, s, tokens), end = start_of(cu, s + 1, tokens), t = max(from, start);
  if (start < from && from < start + (KEPT - first)) t = min(start + (KEPT - first), end);
  if (silu) scale_taps(taps, bias, SILU_SCALE);  // not before: that would wait for them
  int next = from;  // `ahead` has the rows from here on, as far as they lie before the limit
  while (true) {
    while (t >= end) {
      if (++s >= sequences) return;
      start = end;
      end = start_of(cu, s + 1, tokens);
      t = max(t, start);
    }
    if (t >= to) return;
    int stop = min(end, to);
    if (start < to && to < start + (KEPT - first)) stop = min(start + (KEPT - first), end);

    if (t != next || stop - reach > x.count) {
      x.count = max(stop, to) - reach;
      [[unroll]] for (int u = 0; u < TURN; u++) ahead[u] = row_at(x, t - reach + u);
    }
    const bool begins = t == start;
    int slot = -1;
    bool had = false;
    if (with_states) {
      slot = slot_of(a.cache_indices, s, a.pad_slot, a.slots);
      had = load_byte(a.has_initial, s) != 0u;
      if (slot < 0) {
        if (begins && GIVEN(initial_out)) {
          Row rows[KEPT];
          no_rows(rows);
          put_columns(SLOT(initial_out, s, c), first, type, rows);
        }
        for (; t < stop; t++) store_row(a.result, t * a.out_pitch + c, Row(0), x_type);
        next = -1;
        continue;
      }
    }
    next = (stop - t) % TURN == 0 ? stop : -1;  // what comes after a turn is ahead
    Values window[KEPT];
    [[unroll]] for (int j = 0; j < KEPT; j++) window[j] = ZERO;
    bool keep_last = false;
    if (!begins) {
      if (t == from) {
        [[unroll]] for (int j = 0; j < KEPT; j++) {
          if (j >= first) window[j] = widen_row(before[j], x_type);
        }
      } else {
        [[unroll]] for (int j = 0; j < KEPT; j++) {
          if (j >= first) window[j] = widen_row(row_at(x, t - reach - KEPT + j), x_type);
        }
      }
    } else if (with_states) {
      int64_t position = ring ? load_int(a.positions, s) : 0;
      Row rows[KEPT];
      history(SLOT(states, slot, c), a.state_columns, had, ring, position, first, type, rows);
      [[unroll]] for (int j = 0; j < KEPT; j++) window[j] = widen_row(rows[j], type);
      if (GIVEN(initial_out)) put_columns(SLOT(initial_out, s, c), first, type, rows);
      keep_last = FIXED && !ring && a.state_columns == KEPT && end - start >= KEPT;
      if (!keep_last) {
        keep(SLOT(states, slot, c), a.state_columns, had, ring, position, first, type, rows,
             a.x, start * a.x_pitch + c, a.x_pitch, x_type, end - start);
      }
    }

    const uint64_t result = a.result + uint64_t(t * out_step + c * element(x_type));
    if (silu) {
      walk(taps, bias, true, ahead, x, t - reach, stop - t, window, first, result, out_step);
    } else {
      walk(taps, bias, false, ahead, x, t - reach, stop - t, window, first, result, out_step);
    }
    if (keep_last) {  // now, as whoever waits for rows far away has nothing else to do
      Row rows[KEPT];
      [[unroll]] for (int j = 0; j < KEPT; j++) rows[j] = load_row(a.x, (end - KEPT + j) * a.x_pitch + c, x_type);
      put_columns(SLOT(states, slot, c), first, type, rows);
    }
    t = stop;
  }
}
