// Who the slots of a backward pass are: from the ids, weights and permutation that forward saved to the lists that
// backward.cl works off. Two dispatches; the shared expert's are made of the tokens themselves. Ids, slots and the
// token count are read as they are and count for nothing where they are out of range. Where the pass works in groups
// of tokens, T is the group's, and its permutation is one of its own (sort.cl).
#include "backward.clh"

#define GROUP 256
#define SUM_COLUMNS 16 /* as MoeBackwardPass.java has it */
#define SUM_ROWS (GROUP / SUM_COLUMNS)

// The local expert at a place in the permutation, `experts` where there is none.
static inline int expert_at(const __global int *permutation, const __global int *ids, long id_pitch, long p, long rows,
                            long slots, int top_k, int first_expert, int experts) {
  if (p >= rows) return experts;
  const long slot = permutation[p];
  if (slot < 0 || slot >= slots) return experts;
  const long id = (long)ids[slot / top_k * id_pitch + slot % top_k] - first_expert;
  return id < 0 || id >= experts ? experts : (int)id;
}

// One work-item for each place in the permutation and one for its end. The permutation is ordered by expert: an expert
// starts where the local expert to its left is a lower one. starts [experts + 1]; row_tokens, row_weights, inverse
// [rows]; all_tokens [1] int2: the tokens that are there, as the slots of one expert. The inverse, where a slot lies in
// the permutation, is checked by those who read it. token_count counts from before first_token. z_of_slot [rows] and
// z_rows [rows], or null: the row of z that forward saved for a slot, by slot and by place.
__kernel void moe_backward_rows(READS(permutation), READS(ids), READS(weights), READS(token_count), const long id_pitch,
                                const long weight_pitch, const long tokens, const long rows, WRITES(starts),
                                WRITES(row_tokens), WRITES(row_weights), WRITES(inverse), WRITES(all_tokens),
                                READS(z_of_slot), WRITES(z_rows), const int top_k, const int first_expert,
                                const int experts, const int first_token) {
  const long p = (long)get_global_id(0);
  if (p > rows) return;
  const long present =
      GIVEN(token_count) ? min(max((long)*CONST_AT(int, token_count) - first_token, 0L), tokens) : tokens;
  const long slots = present * top_k;
#define EXPERT_AT(p) \
  expert_at(CONST_AT(int, permutation), CONST_AT(int, ids), id_pitch, p, rows, slots, top_k, first_expert, experts)
  const int expert = EXPERT_AT(p);
  const int before = p > 0 ? EXPERT_AT(p - 1) : -1;
  for (int e = before + 1; e <= expert; e++) AT(int, starts)[e] = (int)p;
  if (p == 0) vstore2((int2)(0, (int)present), 0, AT(int, all_tokens));
  if (p < rows) {
    const int local_one = expert < experts;
    const long slot = local_one ? CONST_AT(int, permutation)[p] : 0;
    AT(int, row_tokens)[p] = local_one ? (int)(slot / top_k) : -1;
    AT(float, row_weights)[p] = local_one ? CONST_AT(float, weights)[slot / top_k * weight_pitch + slot % top_k] : 0.0f;
    if (local_one) AT(int, inverse)[slot] = (int)p;
    if (GIVEN(z_rows)) AT(int, z_rows)[p] = local_one ? max(CONST_AT(int, z_of_slot)[slot], 0) : 0;
  }
}

// A work-item for each token and one more; the shared gate's logits were computed before, if there is a gate. starts [2];
// row_tokens [T]; row_weights [T]: sigmoid(x . gate), or 1.
__kernel void moe_backward_shared_rows(READS(logits), READS(token_count), const long tokens, WRITES(starts),
                                       WRITES(row_tokens), WRITES(row_weights)) {
  const long t = (long)get_global_id(0);
  const long present = PRESENT_OF(tokens);
  if (t == 0) vstore2((int2)(0, (int)present), 0, AT(int, starts));
  if (t >= present) return;
  AT(int, row_tokens)[t] = (int)t;
  AT(float, row_weights)[t] = GIVEN(logits) ? sigmoid_of(CONST_AT(float, logits)[t]) : 1.0f;
}

// One group: cuts each expert's slots into tiles of tile_rows, in order. Starts that do not ascend, as no forward
// writes them, are bent until they do.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moe_backward_tiles(
    READS(starts), WRITES(slot_experts), WRITES(tiles), WRITES(tile_count), const long rows, const long most_tiles,
    const int experts, const int tile_rows) {
  __local int sums[GROUP];
  const int item = (int)get_local_id(0);
  long before = 0;  // tiles of the experts before this round's
  for (int base = 0; base < experts; base += GROUP) {
    const int e = base + item;
    int count = 0;
    if (e < experts) {
      const long first = min(max((long)CONST_AT(int, starts)[e], 0L), rows);
      const long end = min(max((long)CONST_AT(int, starts)[e + 1], first), rows);
      count = (int)(end - first);
      vstore2((int2)((int)first, count), e, AT(int, slot_experts));
    }
    const int own = count / tile_rows + (count % tile_rows != 0);
    barrier(CLK_LOCAL_MEM_FENCE);
    sums[item] = own;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int d = 1; d < GROUP; d *= 2) {
      const int left = item >= d ? sums[item - d] : 0;
      barrier(CLK_LOCAL_MEM_FENCE);
      sums[item] += left;
      barrier(CLK_LOCAL_MEM_FENCE);
    }
    const long at = before + sums[item] - own;
    for (int i = 0; i < own && at + i < most_tiles; i++) vstore2((int2)(e, i * tile_rows), at + i, AT(int, tiles));
    before += sums[GROUP - 1];
  }
  if (item == 0) *AT(int, tile_count) = (int)min(before, most_tiles);
}

// out[expert, column] = sum over the expert's slots, weighted or not. A group for SUM_COLUMNS columns of an expert;
// SUM_ROWS work-items take every SUM_ROWS-th slot of a column, and their sums are added in order. `values` has rows of
// slots, or of tokens; `out` rows of one element, one for each column; those that are not given are not written.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moe_backward_column_sums(
    SLOTS, MATRIX_OF(READS, values), PROJECTION(CHANGES, out), const int columns, const int by_token,
    const int weighted, const int accumulate) {
  __local float sums[SUM_ROWS][SUM_COLUMNS];
  const int lane = (int)get_local_id(0) % SUM_COLUMNS, first = (int)get_local_id(0) / SUM_COLUMNS;
  const int column_groups = (columns + SUM_COLUMNS - 1) / SUM_COLUMNS;
  const int expert = (int)(get_group_id(0) / column_groups);
  const int column = (int)(get_group_id(0) % column_groups) * SUM_COLUMNS + lane;
  const int2 slots = vload2(expert, CONST_AT(int, slot_experts));
  float sum = 0.0f;
  if (column < columns) {
    for (int i = first; i < slots.s1; i += SUM_ROWS) {
      const long p = (long)slots.s0 + i;
      const long row = by_token ? CONST_AT(int, row_tokens)[p] : p;
      if (row >= 0) {
        const float v = load_value(ROW_AT(values, 0, row), column, values_type);
        sum = weighted ? fma(CONST_AT(float, row_weights)[p], v, sum) : sum + v;
      }
    }
  }
  sums[first][lane] = sum;
  barrier(CLK_LOCAL_MEM_FENCE);
  if (first == 0 && column < columns && PROJECTION_HAS(out, column)) {
    for (int i = 1; i < SUM_ROWS; i++) sum += sums[i][lane];
    __global uchar *at = PROJECTION_AT(out, expert, column);
    store_value(at, 0, accumulate ? sum + load_value(at, 0, out_type) : sum, out_type);
  }
}
