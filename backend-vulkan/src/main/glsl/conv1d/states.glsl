// Convolution states: [slots, C, S] in any layout, VECTOR channels of a sequence at a time.
#ifndef WEFT_CONV1D_STATES
#define WEFT_CONV1D_STATES
#include "rows.glsl"

// How a kernel may reach the columns of its channels. Chosen by the host from strides and alignment.
#define SCATTERED 0  // element by element: any strides
#define ROWS 1       // channels are neighbours and aligned: a column is one access
#define PACKED 2     // [C, W-1] without gaps, aligned: VECTOR * (W-1) neighbouring elements are a work-item's

// A kernel's arguments for states (strides in elements), the parameters of the functions here, and what a kernel gives
// them.
#define STATES(name) CHANGES(name); int64_t name##_slot; int64_t name##_channel; int64_t name##_column; int name##_mode
#define PLACED_STATES uint64_t base, int64_t origin, int64_t channel, int64_t column, int mode
#define SLOT(name, slot, c) \
  a.name, int64_t(slot) * a.name##_slot + int64_t(c) * a.name##_channel, a.name##_channel, a.name##_column, a.name##_mode

Row get_column(PLACED_STATES, int64_t j, int type) {
#if VECTOR == 1
  return load_bits(base, origin + j * column, type);
#else
  if (mode == ROWS) return load_row(base, origin + j * column, type);
  uint bits[VECTOR];
  [[unroll]] for (int i = 0; i < VECTOR; i++) bits[i] = load_bits(base, origin + j * column + i * channel, type);
  return join_row(bits);
#endif
}

void put_column(PLACED_STATES, int64_t j, Row row, int type) {
#if VECTOR == 1
  store_bits(base, origin + j * column, row, type);
#else
  if (mode == ROWS) {
    store_row(base, origin + j * column, row, type);
    return;
  }
  uint bits[VECTOR];
  split_row(row, bits);
  [[unroll]] for (int i = 0; i < VECTOR; i++) store_bits(base, origin + j * column + i * channel, bits[i], type);
#endif
}

// Columns from .. from + width - 1, oldest first. Packed states have these columns only.
void get_columns(PLACED_STATES, int from, int first, int type, out Row rows[KEPT]) {
#if VECTOR > 1
  if (mode == PACKED) {
    uint bits[KEPT * VECTOR];
    [[unroll]] for (int k = 0; k < KEPT; k++) {
      uint parts[VECTOR];
      split_row(load_row(base, origin + k * VECTOR, type), parts);
      [[unroll]] for (int i = 0; i < VECTOR; i++) bits[k * VECTOR + i] = parts[i];
    }
    [[unroll]] for (int j = 0; j < KEPT; j++) {
      uint taken[VECTOR];
      [[unroll]] for (int i = 0; i < VECTOR; i++) taken[i] = bits[i * KEPT + j];
      rows[j] = join_row(taken);
    }
    return;
  }
#endif
  [[unroll]] for (int j = 0; j < KEPT; j++) {
    rows[j] = Row(0);
    if (j >= first) rows[j] = get_column(base, origin, channel, column, mode, from + j - first, type);
  }
}

// Columns 0 .. width - 1.
void put_columns(PLACED_STATES, int first, int type, Row rows[KEPT]) {
#if VECTOR > 1
  if (mode == PACKED) {
    uint bits[KEPT * VECTOR];
    [[unroll]] for (int j = 0; j < KEPT; j++) {
      uint parts[VECTOR];
      split_row(rows[j], parts);
      [[unroll]] for (int i = 0; i < VECTOR; i++) bits[i * KEPT + j] = parts[i];
    }
    [[unroll]] for (int k = 0; k < KEPT; k++) {
      uint taken[VECTOR];
      [[unroll]] for (int i = 0; i < VECTOR; i++) taken[i] = bits[k * VECTOR + i];
      store_row(base, origin + k * VECTOR, join_row(taken), type);
    }
    return;
  }
#endif
  [[unroll]] for (int j = 0; j < KEPT; j++) {
    if (j >= first) put_column(base, origin, channel, column, mode, j - first, rows[j], type);
  }
}

void no_rows(out Row rows[KEPT]) {
  [[unroll]] for (int j = 0; j < KEPT; j++) rows[j] = Row(0);
}

// GLSL leaves the remainder of negative numbers open.
int ring_column(int64_t position, int columns) {
  return position >= 0 ? int(position % columns) : columns - 1 - int((-1 - position) % columns);
}

// The slot of a sequence, or -1 if it is skipped.
int slot_of(uint64_t cache_indices, int s, int pad_slot, int64_t slots) {
  int slot = load_int(cache_indices, s);
  return slot == pad_slot || slot < 0 || slot >= slots ? -1 : slot;
}
#define ANY_SLOT 0x7fffffffffffffffL

#endif
