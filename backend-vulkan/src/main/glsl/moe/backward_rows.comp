#version 460
// Who the slots of a backward pass are: from the ids, weights and permutation that forward saved to the lists that
// backward.comp works off. Two dispatches; the shared expert's are made of the tokens themselves. Ids, slots and the
// token count are read as they are and count for nothing where they are out of range. Where the pass works in groups
// of tokens, T is the group's, and its permutation is one of its own (sort.comp).
#include "backward.glsl"

#define GROUP 256
#define SUM_COLUMNS 16 /* as MoeBackwardPass.java has it */
#define SUM_ROWS (GROUP / SUM_COLUMNS)

layout(local_size_x = GROUP) in;

#ifdef KERNEL_moe_backward_rows
// One work-item for each place in the permutation and one for its end. The permutation is ordered by expert: an expert
// starts where the local expert to its left is a lower one. starts [experts + 1]; row_tokens, row_weights, inverse
// [rows]; all_tokens [1] two ints: the tokens that are there, as the slots of one expert. The inverse, where a slot lies
// in the permutation, is checked by those who read it. token_count counts from before first_token. z_of_slot [rows] and
// z_rows [rows], or none: the row of z that forward saved for a slot, by slot and by place.
STORED_ARGUMENTS {
  READS(permutation);
  READS(ids);
  READS(weights);
  READS(token_count);
  int64_t id_pitch;
  int64_t weight_pitch;
  int64_t tokens;
  int64_t rows;
  WRITES(starts);
  WRITES(row_tokens);
  WRITES(row_weights);
  WRITES(inverse);
  WRITES(all_tokens);
  READS(z_of_slot);
  WRITES(z_rows);
  int top_k;
  int first_expert;
  int experts;
  int first_token;
};
TAKES_ARGUMENTS;

// The local expert at a place in the permutation, `experts` where there is none.
int expert_at(int64_t p, int64_t slots, out int slot) {
  slot = -1;
  if (p >= a.rows) return a.experts;
  slot = load_int(a.permutation, p);
  if (slot < 0 || slot >= slots) return a.experts;
  const int id = load_int(a.ids, slot / a.top_k * a.id_pitch + slot % a.top_k);
  return id < a.first_expert || id - a.first_expert >= a.experts ? a.experts : id - a.first_expert;
}

void main() {
  const int64_t p = global_id();
  if (p > a.rows) return;
  int64_t present = a.tokens;
  if (GIVEN(token_count)) {
    present = min(int64_t(max(load_int(a.token_count, 0), a.first_token) - a.first_token), a.tokens);
  }
  const int64_t slots = present * a.top_k;
  int slot, other;
  const int expert = expert_at(p, slots, slot);
  int before = -1;
  if (p > 0) before = expert_at(p - 1, slots, other);
  for (int e = before + 1; e <= expert; e++) store_int(a.starts, e, int(p));
  if (p == 0) store_int2(a.all_tokens, 0, ivec2(0, int(present)));
  if (p < a.rows) {
    int token = -1, z_row = 0;
    float weight = 0.0;
    if (expert < a.experts) {
      token = slot / a.top_k;
      weight = load_float(a.weights, token * a.weight_pitch + slot % a.top_k);
      store_int(a.inverse, slot, int(p));
      if (GIVEN(z_rows)) z_row = max(load_int(a.z_of_slot, slot), 0);
    }
    store_int(a.row_tokens, p, token);
    store_float(a.row_weights, p, weight);
    if (GIVEN(z_rows)) store_int(a.z_rows, p, z_row);
  }
}
#endif

#ifdef KERNEL_moe_backward_shared_rows
// A work-item for each token and one more; the shared gate's logits were computed before, if there is a gate. starts [2];
// row_tokens [T]; row_weights [T]: sigmoid(x . gate), or 1.
PUSHED_ARGUMENTS {
  READS(logits);
  READS(token_count);
  int64_t tokens;
  WRITES(starts);
  WRITES(row_tokens);
  WRITES(row_weights);
};
TAKES_ARGUMENTS;

void main() {
  const int64_t t = global_id();
  const int64_t present = PRESENT_OF(a.tokens);
  if (t == 0) store_int2(a.starts, 0, ivec2(0, int(present)));
  if (t >= present) return;
  store_int(a.row_tokens, t, int(t));
  float weight = 1.0;
  if (GIVEN(logits)) weight = sigmoid_of(load_float(a.logits, t));
  store_float(a.row_weights, t, weight);
}
#endif

#ifdef KERNEL_moe_backward_tiles
// One group: cuts each expert's slots into tiles of tile_rows, in order. Starts that do not ascend, as no forward
// writes them, are bent until they do.
PUSHED_ARGUMENTS {
  READS(starts);
  WRITES(slot_experts);
  WRITES(tiles);
  WRITES(tile_count);
  int64_t rows;
  int64_t most_tiles;
  int experts;
  int tile_rows;
};
TAKES_ARGUMENTS;

shared int sums[GROUP];

void main() {
  const int item = local_item();
  const int rows = int(a.rows), most_tiles = int(a.most_tiles);
  int before = 0;  // tiles of the experts before this round's
  for (int base = 0; base < a.experts; base += GROUP) {
    const int e = base + item;
    int count = 0;
    if (e < a.experts) {
      const int first = min(max(load_int(a.starts, e), 0), rows);
      const int end = min(max(load_int(a.starts, e + 1), first), rows);
      count = end - first;
      store_int2(a.slot_experts, e, ivec2(first, count));
    }
    const int own = count / a.tile_rows + (count % a.tile_rows != 0 ? 1 : 0);
    barrier();
    sums[item] = own;
    barrier();
    for (int d = 1; d < GROUP; d *= 2) {
      int left = 0;
      if (item >= d) left = sums[item - d];
      barrier();
      sums[item] += left;
      barrier();
    }
    const int first_of = before + sums[item] - own;
    for (int i = 0; i < own && first_of + i < most_tiles; i++) {
      store_int2(a.tiles, first_of + i, ivec2(e, i * a.tile_rows));
    }
    before += sums[GROUP - 1];
  }
  if (item == 0) store_int(a.tile_count, 0, min(before, most_tiles));
}
#endif

#ifdef KERNEL_moe_backward_column_sums
// result[expert, column] = sum over the expert's slots, weighted or not. A group for SUM_COLUMNS columns of an expert;
// SUM_ROWS work-items take every SUM_ROWS-th slot of a column, and their sums are added in order. `values` has rows of
// slots, or of tokens; the result rows of one element, one for each column; those that are not given are not written.
STORED_ARGUMENTS {
  SLOTS;
  MATRIX_OF(READS, values);
  PROJECTION(CHANGES, result);
  int columns;
  int by_token;
  int weighted;
  int accumulate;
};
TAKES_ARGUMENTS;

shared float sums[SUM_ROWS][SUM_COLUMNS];

void main() {
  const int lane = local_item() % SUM_COLUMNS, first = local_item() / SUM_COLUMNS;
  const int column_groups = (a.columns + SUM_COLUMNS - 1) / SUM_COLUMNS;
  const int expert = group_number() / column_groups;
  const int column = group_number() % column_groups * SUM_COLUMNS + lane;
  const ivec2 slots = load_int2(a.slot_experts, expert);
  float sum = 0.0;
  if (column < a.columns) {
    for (int i = first; i < slots.y; i += SUM_ROWS) {
      const int p = slots.x + i;
      int row = p;
      if (a.by_token != 0) row = load_int(a.row_tokens, p);
      if (row >= 0) {
        const float v = load_value(ROW_AT(values, 0, row), column, a.values_type);
        if (a.weighted != 0) {
          sum = fma(load_float(a.row_weights, p), v, sum);
        } else {
          sum += v;
        }
      }
    }
  }
  sums[first][lane] = sum;
  barrier();
  if (first == 0 && column < a.columns && PROJECTION_HAS(result, column)) {
    for (int i = 1; i < SUM_ROWS; i++) sum += sums[i][lane];
    const uint64_t to = PROJECTION_AT(result, expert, column);
    if (a.accumulate != 0) sum += load_value(to, 0, a.result_type);
    store_value(to, 0, sum, a.result_type);
  }
}
#endif
