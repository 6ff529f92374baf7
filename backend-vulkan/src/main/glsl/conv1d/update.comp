#version 460
// Causal conv1d, decoding step: a few new tokens for each slot, the state updated in place.
//
// Work. A work-item owns VECTOR channels of `per_item` sequences, one after another, with the taps in registers; x, the
// state and the output of a token are each read or written once, as wide as layout allows. x and out may be one tensor:
// a row is read before its output is written, and nothing reads it again. No barriers.
#include "states.glsl"

STORED_ARGUMENTS {
  CHANGES(x);              // [B, L, C], or ragged [T, C]
  CHANGES(result);
  READS(weights);          // packed, see rows.glsl
  READS(cu_seqlens);       // [B + 1] int; none: `given_length` tokens each
  READS(cache_indices);    // [B] int
  READS(positions);        // [B] int; none: states shift, else they are rings
  READS(accepted);         // [B] int; none: no speculation
  STATES(states);          // [slots, C, S]
  int64_t x_sequence;
  int64_t x_token;
  int64_t out_sequence;
  int64_t out_token;
  int64_t weight_pitch;
  int64_t slots;
  int tokens;
  int sequences;
  int state_columns;
  int given_length;
  int per_item;
  int items;
  int pad_slot;
  int silu;
  int width;
  int x_type;
  int state_type;
};
TAKES_ARGUMENTS;

// What one step of one sequence reads.
struct Step {
  Row x;
  Row kept[KEPT];
  int slot;  // -1: skipped
};

void main() {
  const int first = FIXED ? 0 : TAPS - a.width, width = TAPS - first;
  const int x_type = FIXED ? TYPE : a.x_type, type = FIXED ? TYPE : a.state_type;
  const int tokens = a.tokens, sequences = a.sequences, state_columns = a.state_columns;
  const bool silu = a.silu != 0;
  int c;
  const int64_t tile_begin = int64_t(tile_of(global_id(), a.items, c)) * a.per_item;
  if (tile_begin >= sequences) return;
  const int begin = int(tile_begin), limit = int(min(tile_begin + a.per_item, int64_t(sequences)));
  Values taps[TAPS], bias;
  load_taps(a.weights, a.weight_pitch, c, first, taps, bias);

  // One token each, states that are the window: the usual step. The next sequence's rows travel while one is worked on.
  if (FIXED && !GIVEN(cu_seqlens) && a.given_length == 1 && !GIVEN(positions) && !GIVEN(accepted) && state_columns == KEPT) {
    Step ahead;
    for (int s = begin - 1; s < limit; s++) {
      Step now;
      now.x = ahead.x;
      now.slot = ahead.slot;
      [[unroll]] for (int j = 0; j < KEPT; j++) now.kept[j] = ahead.kept[j];
      if (s + 1 < limit) {
        ahead.slot = slot_of(a.cache_indices, s + 1, a.pad_slot, a.slots);
        ahead.x = load_row(a.x, (s + 1) * a.x_sequence + c, x_type);
        if (ahead.slot >= 0) get_columns(SLOT(states, ahead.slot, c), 0, first, type, ahead.kept);
      }
      if (s < begin) continue;
      Row row = Row(0);
      if (now.slot >= 0) {
        Values window[KEPT];
        [[unroll]] for (int j = 0; j < KEPT; j++) window[j] = widen_row(now.kept[j], type);
        Values y = convolve(taps, bias, window, widen_row(now.x, x_type));
        if (silu) y = scaled(y, SILU_SCALE);
        row = output_row(y, silu, x_type);
        append(now.kept, now.x, first);
        put_columns(SLOT(states, now.slot, c), first, type, now.kept);
      }
      store_row(a.result, s * a.out_sequence + c, row, x_type);
    }
    return;
  }

  for (int s = begin; s < limit; s++) {
    int64_t x_row = c, out_row = c;
    int count = a.given_length;
    if (GIVEN(cu_seqlens)) {
      int start = start_of(a.cu_seqlens, s, tokens);
      count = start_of(a.cu_seqlens, s + 1, tokens) - start;
      x_row += start * a.x_token;
      out_row += start * a.out_token;
    } else {
      x_row += s * a.x_sequence;
      out_row += s * a.out_sequence;
    }
    if (count <= 0) continue;
    Row next = load_row(a.x, x_row, x_type);  // travels while the slot's number does
    int slot = slot_of(a.cache_indices, s, a.pad_slot, a.slots);
    bool valid = slot >= 0;
    int oldest = state_columns - (width - 1);  // the history's first column
    if (GIVEN(accepted)) {
      const int n = load_int(a.accepted, s), most = state_columns - (width - 2);
      valid = valid && n >= 1 && n <= most && count <= most;
      oldest = valid ? n - 1 : 0;
    }
    if (!valid) {
      for (int i = 0; i < count; i++) store_row(a.result, out_row + i * a.out_token, Row(0), x_type);
      continue;
    }
    const bool ring = GIVEN(positions);
    int64_t position = ring ? load_int(a.positions, s) : 0;
    Row kept[KEPT];
    if (ring) {
      [[unroll]] for (int j = 0; j < KEPT; j++) {
        kept[j] = Row(0);
        if (j >= first) kept[j] = get_column(SLOT(states, slot, c), ring_column(position - KEPT + j, state_columns), type);
      }
    } else {
      get_columns(SLOT(states, slot, c), oldest, first, type, kept);
    }
    Values window[KEPT];
    [[unroll]] for (int j = 0; j < KEPT; j++) window[j] = widen_row(kept[j], type);
    // Where a new token i goes: column target + i, or the ring's, if that is one of the state's.
    const bool whole = !ring && !GIVEN(accepted) && state_columns == width - 1;
    int target = 0;
    if (GIVEN(accepted)) {
      target = width - 2;
      [[unroll]] for (int j = 0; j + 1 < KEPT; j++) {
        if (j >= first) put_column(SLOT(states, slot, c), j - first, kept[j + 1], type);
      }
    } else if (!ring && !whole) {
      target = state_columns - count;
      for (int j = 0; j < target; j++) {
        put_column(SLOT(states, slot, c), j, get_column(SLOT(states, slot, c), j + count, type), type);
      }
    }
    for (int i = 0; i < count; i++) {
      Row row = next;
      if (i + 1 < count) next = load_row(a.x, x_row + (i + 1) * a.x_token, x_type);
      Values now = widen_row(row, x_type);
      Values y = convolve(taps, bias, window, now);
      if (silu) y = scaled(y, SILU_SCALE);
      store_row(a.result, out_row + i * a.out_token, output_row(y, silu, x_type), x_type);
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
