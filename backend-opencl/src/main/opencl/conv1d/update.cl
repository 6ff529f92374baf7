// Causal conv1d, decoding step: a few new tokens for each slot, the state updated in place.
//
// Work. A work-item owns VECTOR channels of `per_item` sequences, one after another, with the taps in registers; x, the
// state and the output of a token are each read or written once, as wide as layout allows. x and out may be one tensor:
// a row is read before its output is written, and nothing reads it again. No barriers.
#include "states.clh"

// What one step of one sequence reads.
typedef struct {
  Row x, kept[KEPT];
  int slot;  // -1: skipped
} Step;

__kernel WORK_GROUP void conv1d_update(
    CHANGES(x),                // [B, L, C], or ragged [T, C]
    CHANGES(out),
    READS(weights),            // packed, see rows.clh
    READS(cu_seqlens),         // [B + 1] int; none: `length` tokens each
    READS(cache_indices),      // [B] int
    READS(positions),          // [B] int; none: states shift, else they are rings
    READS(accepted),           // [B] int; none: no speculation
    STATES(states),            // [slots, C, S]
    const long x_sequence, const long x_token, const long out_sequence, const long out_token,
    const long weight_pitch, const long slots,
    const int tokens, const int sequences, const int state_columns,
    const int given_length, const int per_item, const int items, const int pad_slot,
    const int given_silu, const int given_width, const int given_x_type, const int given_state_type) {
  const int first = FIXED ? 0 : TAPS - given_width, width = TAPS - first;
  const int x_type = FIXED ? TYPE : given_x_type, type = FIXED ? TYPE : given_state_type;
  const bool silu = given_silu;
  int c;
  const int begin = tile_of(items, &c) * per_item, limit = min(begin + per_item, sequences);
  if (begin >= sequences) return;
  const __global int *indices = CONST_AT(int, cache_indices);
  Values taps[TAPS], bias;
  load_taps(CONST_AT(float, weights), weight_pitch, c, first, taps, &bias);
  if (silu) scale_taps(taps, &bias);

#if FIXED
  // One token each, states that are the window: the usual step. The next sequence's rows travel while one is worked on.
  if (!GIVEN(cu_seqlens) && given_length == 1 && !GIVEN(positions) && !GIVEN(accepted) && state_columns == KEPT) {
    Step ahead;
    for (int s = begin - 1; s < limit; s++) {
      Step step = ahead;
      if (s + 1 < limit) {
        ahead.slot = slot_of(indices, s + 1, pad_slot, slots);
        ahead.x = load_row(PLACE(x), (s + 1) * x_sequence + c, x_type);
        if (ahead.slot >= 0) get_columns(SLOT(states, ahead.slot, c), 0, first, type, ahead.kept);
      }
      if (s < begin) continue;
      Row result = (Row)(0);
      if (step.slot >= 0) {
        Values window[KEPT];
#pragma unroll
        for (int j = 0; j < KEPT; j++) window[j] = widen_row(step.kept[j], type);
        Values y = convolve(taps, bias, window, widen_row(step.x, x_type));
        if (silu) y = silu_of_scaled(y);
        result = narrow_row(y, x_type);
        append(step.kept, step.x, first);
        put_columns(SLOT(states, step.slot, c), first, type, step.kept);
      }
      store_row(PLACE(out), s * out_sequence + c, result, x_type);
    }
    return;
  }
#endif

  for (int s = begin; s < limit; s++) {
    long x_row = c, out_row = c;
    int length = given_length;
    if (GIVEN(cu_seqlens)) {
      int start = start_of(CONST_AT(int, cu_seqlens), s, tokens);
      length = start_of(CONST_AT(int, cu_seqlens), s + 1, tokens) - start;
      x_row += start * x_token;
      out_row += start * out_token;
    } else {
      x_row += s * x_sequence;
      out_row += s * out_sequence;
    }
    if (length <= 0) continue;
    Row next = load_row(PLACE(x), x_row, x_type);  // travels while the slot's number does
    int slot = slot_of(indices, s, pad_slot, slots);
    bool valid = slot >= 0;
    int oldest = state_columns - (width - 1);  // the history's first column
    if (GIVEN(accepted)) {
      long n = CONST_AT(int, accepted)[s];
      valid = valid && n >= 1 && n - 1 + width - 1 <= state_columns && (long)width - 2 + length <= state_columns;
      oldest = valid ? (int)(n - 1) : 0;
    }
    if (!valid) {
      for (int i = 0; i < length; i++) store_row(PLACE(out), out_row + i * out_token, (Row)(0), x_type);
      continue;
    }
    const bool ring = GIVEN(positions);
    long position = ring ? CONST_AT(int, positions)[s] : 0;
    Row kept[KEPT];
    if (ring) {
#pragma unroll
      for (int j = 0; j < KEPT; j++) {
        kept[j] = (Row)(0);
        if (j >= first) kept[j] = get_column(SLOT(states, slot, c), ring_column(position - KEPT + j, state_columns), type);
      }
    } else {
      get_columns(SLOT(states, slot, c), oldest, first, type, kept);
    }
    Values window[KEPT];
#pragma unroll
    for (int j = 0; j < KEPT; j++) window[j] = widen_row(kept[j], type);
    // Where a new token i goes: column target + i, or the ring's, if that is one of the state's.
    const bool whole = !ring && !GIVEN(accepted) && state_columns == width - 1;
    int target = 0;
    if (GIVEN(accepted)) {
      target = width - 2;
#pragma unroll
      for (int j = 0; j + 1 < KEPT; j++) {
        if (j >= first) put_column(SLOT(states, slot, c), j - first, kept[j + 1], type);
      }
    } else if (!ring && !whole) {
      target = state_columns - length;
      for (int j = 0; j < target; j++) {
        put_column(SLOT(states, slot, c), j, get_column(SLOT(states, slot, c), j + length, type), type);
      }
    }
    for (int i = 0; i < length; i++) {
      Row row = next;
      if (i + 1 < length) next = load_row(PLACE(x), x_row + (i + 1) * x_token, x_type);
      Values now = widen_row(row, x_type);
      Values y = convolve(taps, bias, window, now);
      if (silu) y = silu_of_scaled(y);
      store_row(PLACE(out), out_row + i * out_token, narrow_row(y, x_type), x_type);
      shift(window, now, first);
      row = converted(row, x_type, type);
      if (whole) {
        append(kept, row, first);
      } else if (ring) {
        put_column(SLOT(states, slot, c), ring_column(position + i, state_columns), row, type);
      } else if (target + i >= 0) {
        put_column(SLOT(states, slot, c), target + i, row, type);
      }
    }
    if (whole) put_columns(SLOT(states, slot, c), first, type, kept);
  }
}
