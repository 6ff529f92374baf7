// Causal conv1d, forward: packed sequences, states in and out, one launch, no host read.
//
// Work. A work-item owns VECTOR neighbouring channels and walks a tile of `tile` tokens; the window of the last W-1
// rows, the taps and the bias stay in registers as F32. The work-items of one tile run together: full rows, and the W-1
// rows before a tile are in cache. AHEAD rows are on their way before they are needed; where they are staged in local
// memory, a tile's sequences follow each other there without a pause, and the rows before the tile and those that become
// a sequence's new state travel beside them. No barriers.
//
// Owner rule. A tile boundary inside the first W-1 tokens of a sequence moves to their end. So the tile in which a
// sequence starts is the only one that reads its state, and the same one writes the new state (from the last rows of x):
// slots are updated in place without a second launch.
//
// Empty sequences own no token; work-items beyond the tiles write their initial_out, where that is asked for.
#define TENSORS 1
#include "ahead.clh"
#include "states.clh"

// What a sequence starts from.
static inline void history(PLACED_STATES, int columns, bool had, bool ring, long position, int first, int type, Row rows[KEPT]) {
  if (!had) {
    no_rows(rows);
  } else if (ring) {
#pragma unroll
    for (int j = 0; j < KEPT; j++) {
      rows[j] = (Row)(0);
      if (j >= first) rows[j] = get_column(base, at, channel, column, mode, ring_column(position - KEPT + j, columns), type);
    }
  } else {
    get_columns(base, at, channel, column, mode, columns - (KEPT - first), first, type, rows);
  }
}

// Writes what a sequence of `length` tokens, whose rows begin at element x_first of x, leaves behind; `rows` is what it
// started from.
static inline void keep(PLACED_STATES, int columns, bool had, bool ring, long position, int first, int type, const Row rows[KEPT],
                        const __global uchar *x, long x_first, long x_pitch, int x_type, int length) {
  if (ring) {
    for (int i = max(0, length - columns); i < length; i++) {
      Row row = converted(load_row(x, x_first + i * x_pitch, x_type), x_type, type);
      put_column(base, at, channel, column, mode, ring_column(position + i, columns), row, type);
    }
    for (int i = length; !had && i < columns; i++) {
      put_column(base, at, channel, column, mode, ring_column(position + i, columns), (Row)(0), type);
    }
  } else if (columns == KEPT - first) {
    Row last[KEPT];
#pragma unroll
    for (int j = 0; j < KEPT; j++) last[j] = rows[j];
#pragma unroll
    for (int k = 0; k < KEPT; k++) {
      int i = length - KEPT + k;
      if (i >= 0 && k >= first) append(last, converted(load_row(x, x_first + i * x_pitch, x_type), x_type, type), first);
    }
    put_columns(base, at, channel, column, mode, first, type, last);
  } else {
    for (int j = 0; j < columns; j++) {  // ascending: a column is read before it is overwritten
      long from = (long)j + length;
      Row row = (Row)(0);
      if (from >= columns) {
        row = converted(load_row(x, x_first + (from - columns) * x_pitch, x_type), x_type, type);
      } else if (had) {
        row = get_column(base, at, channel, column, mode, from, type);
      }
      put_column(base, at, channel, column, mode, j, row, type);
    }
  }
}

// The output of a row.
static inline void put_out(Row row, const Values taps[TAPS], Values bias, bool silu, Values window[KEPT], int first,
                           __global uchar *restrict out, int type) {
  Values now = widen_row(row, type);
  Values y = convolve(taps, bias, window, now);
  if (silu) y = silu_of_scaled(y);
  store_row(out, 0, narrow_row(y, type), type);
  shift(window, now, first);
}

#if FIXED
// STEP rows from `t` on; `silu` is a constant wherever this is called.
static inline void whole_step(AHEAD_PARAMETERS, const __global uchar *restrict x, long x_pitch, __global uchar *restrict out,
                              long out_bytes, int c, int t, int limit, const Values taps[TAPS], Values bias, bool silu,
                              Values window[KEPT]) {
  Row taken[STEP];
  take_ahead(AHEAD_PASSED, STEP, x, x_pitch, 0, 0, c, TYPE, t, limit, taken);
#pragma unroll
  for (int j = 0; j < STEP; j++) {
    put_out(taken[j], taps, bias, silu, window, 0, out, TYPE);
    out += out_bytes;
  }
}
#endif

__kernel WORK_GROUP void conv1d_forward(
    READS(x),                  // [T, C]
    WRITES(out),               // [T, C]
    READS(weights),            // packed, see rows.clh
    READS(cu_seqlens),         // [B + 1] int
    READS(cache_indices),      // [B] int; none: no states
    READS(has_initial),        // [B] bytes
    READS(positions),          // [B] int; none: states shift, else they are rings
    STATES(states),            // [slots, C, S]
    STATES(initial_out),       // [B, C, W-1]; none: not asked for
    const long x_pitch, const long out_pitch, const long weight_pitch, const long slots,
    const int tokens, const int sequences, const int state_columns,
    const int tile, const int tiles, const int items, const int pad_slot,
    const int given_silu, const int given_width, const int given_x_type, const int given_state_type,
    const int empty_per_item) {
  const int first = FIXED ? 0 : TAPS - given_width;
  const int x_type = FIXED ? TYPE : given_x_type, type = FIXED ? TYPE : given_state_type;
  const bool silu = given_silu;
  int c;
  const int number = tile_of(items, &c);  // of the tile
  const __global int *cu = CONST_AT(int, cu_seqlens);
  const bool with_states = GIVEN(cache_indices), ring = GIVEN(positions);

  if (number >= tiles) {
    if (!GIVEN(initial_out)) return;
    int begin = (number - tiles) * empty_per_item, limit = min(begin + empty_per_item, sequences);
    for (int s = begin; s < limit; s++) {
      if (start_of(cu, s, tokens) < start_of(cu, s + 1, tokens)) continue;
      int slot = slot_of(CONST_AT(int, cache_indices), s, pad_slot, slots);
      bool had = slot >= 0 && CONST_AT(uchar, has_initial)[s] != 0;
      Row rows[KEPT];
      history(SLOT(states, slot, c), state_columns, had, ring, ring ? CONST_AT(int, positions)[s] : 0, first, type, rows);
      put_columns(SLOT(initial_out, s, c), first, type, rows);
    }
    return;
  }

  const int from = number * tile, to = (int)min((long)from + tile, (long)tokens);
  // Rows and taps do not depend on the search: let them travel meanwhile. (Padding rows may be loaded, but nothing is
  // computed from them.)
  ROWS_AHEAD;
#if STAGED
  __local Row last_slots[KEPT * GROUP_SIZE], before_slots[KEPT * GROUP_SIZE];
  __local Row *last_rows = last_slots + get_local_id(0), *before_rows = before_slots + get_local_id(0);
#pragma unroll
  for (int j = 0; j < KEPT; j++) {  // as part of the first row's batch
    copy_row(before_rows + j * GROUP_SIZE, PLACE(x) + ((from - KEPT + j) * x_pitch + c) * (ROW_BYTES / VECTOR), from >= KEPT);
  }
#endif
  start_ahead(AHEAD_ARGUMENTS, PLACE(x), x_pitch, 0, 0, c, x_type, from, to);
  Values taps[TAPS], bias;
  load_taps(CONST_AT(float, weights), weight_pitch, c, first, taps, &bias);

  int s = max(sequence_of(cu, sequences, from), 0);
  if (s >= sequences) return;
  if (silu) scale_taps(taps, &bias);  // now that they have arrived
  int start = start_of(cu, s, tokens), end = start_of(cu, s + 1, tokens), t = max(from, start);
  if (start < from && from < start + (KEPT - first)) t = min(start + (KEPT - first), end);
  int next = from, limit = to;  // rows ahead go on with `next` and end before `limit`
  while (true) {
    while (t >= end) {
      if (++s >= sequences) return;
      start = start_of(cu, s, tokens);
      end = start_of(cu, s + 1, tokens);
      t = max(t, start);
    }
    if (t >= to) return;
    int stop = min(end, to);
    if (start < to && to < start + (KEPT - first)) stop = min(start + (KEPT - first), end);

    int slot = with_states ? slot_of(CONST_AT(int, cache_indices), s, pad_slot, slots) : -1;
    if (with_states && slot < 0) {
      if (t == start && GIVEN(initial_out)) {
        Row rows[KEPT];
        no_rows(rows);
        put_columns(SLOT(initial_out, s, c), first, type, rows);
      }
      for (; t < stop; t++) store_row(PLACE(out), t * out_pitch + c, (Row)(0), x_type);
      next = -1;
      continue;
    }
    if (t != next || stop > limit) {
      limit = STAGED ? max(stop, to) : stop;
      start_ahead(AHEAD_ARGUMENTS, PLACE(x), x_pitch, 0, 0, c, x_type, t, limit);
    } else if (!STAGED) {
      limit = stop;
    }
    next = STAGED ? stop : -1;
    bool keep_later = false;
    Values window[KEPT];
    if (STAGED && t == from && t > start) {  // the owner rule leaves a whole window before such a tile
#if STAGED
      AWAIT_ALL_BUT(AHEAD - 1);
#pragma unroll
      for (int j = 0; j < KEPT; j++) window[j] = widen_row(staged_row(before_rows + j * GROUP_SIZE), x_type);
#endif
    } else if (t > start) {
#pragma unroll
      for (int j = 0; j < KEPT; j++) {
        window[j] = (Values)(0.0f);
        int r = t - KEPT + j;
        if (r >= start && j >= first) window[j] = widen_row(load_row(PLACE(x), r * x_pitch + c, x_type), x_type);
      }
    } else if (with_states) {
      bool had = CONST_AT(uchar, has_initial)[s] != 0;
      long position = ring ? CONST_AT(int, positions)[s] : 0;
      Row rows[KEPT];
      history(SLOT(states, slot, c), state_columns, had, ring, position, first, type, rows);
#pragma unroll
      for (int j = 0; j < KEPT; j++) window[j] = widen_row(rows[j], type);
      if (GIVEN(initial_out)) put_columns(SLOT(initial_out, s, c), first, type, rows);
      keep_later = STAGED && !ring && state_columns == KEPT && end - start >= KEPT;
#if STAGED
      if (keep_later) {  // as part of the batch that the next row closes
#pragma unroll
        for (int j = 0; j < KEPT; j++) {
          copy_row(last_rows + j * GROUP_SIZE, PLACE(x) + ((end - KEPT + j) * x_pitch + c) * (ROW_BYTES / VECTOR), true);
        }
      }
#endif
      if (!keep_later) {
        keep(SLOT(states, slot, c), state_columns, had, ring, position, first, type, rows,
             PLACE(x), start * x_pitch + c, x_pitch, x_type, end - start);
      }
    } else {
#pragma unroll
      for (int j = 0; j < KEPT; j++) window[j] = (Values)(0.0f);
    }

    const int begin = t;
    const long out_bytes = out_pitch * type_bytes(x_type);
    __global uchar *to = PLACE(out) + (t * out_pitch + c) * type_bytes(x_type);
#if FIXED
    if (silu) {
#pragma unroll 1
      for (; STEP_FITS(t, stop); t += STEP) {
        whole_step(AHEAD_ARGUMENTS, PLACE(x), x_pitch, to, out_bytes, c, t, limit, taps, bias, true, window);
        to += STEP * out_bytes;
      }
    } else {
#pragma unroll 1
      for (; STEP_FITS(t, stop); t += STEP) {
        whole_step(AHEAD_ARGUMENTS, PLACE(x), x_pitch, to, out_bytes, c, t, limit, taps, bias, false, window);
        to += STEP * out_bytes;
      }
    }
#endif
#if STAGED
    for (; t < stop; t++) {
      Row taken[STEP];
      take_ahead(AHEAD_ARGUMENTS, 1, PLACE(x), x_pitch, 0, 0, c, x_type, t, limit, taken);
      put_out(taken[0], taps, bias, silu, window, first, to, x_type);
      to += out_bytes;
    }
#else
    for (; t < stop; t += AHEAD) {
#pragma unroll
      for (int u = 0; u < AHEAD; u++) {
        if (t + u < stop) {
          Row taken[1];
          take_row(AHEAD_ARGUMENTS, false, u, PLACE(x), x_pitch, 0, 0, c, x_type, t + u, limit, taken);
          put_out(taken[0], taps, bias, silu, window, first, to, x_type);
          to += out_bytes;
        }
      }
    }
#endif
    t = stop;
#if STAGED
    if (keep_later) {
      if (stop - begin <= AHEAD) AWAIT_ALL_BUT(0);
      Row last[KEPT];
#pragma unroll
      for (int j = 0; j < KEPT; j++) last[j] = staged_row(last_rows + j * GROUP_SIZE);
      put_columns(SLOT(states, slot, c), first, type, last);
    }
#endif
  }
}
