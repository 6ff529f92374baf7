// y[t] = sum over slots, in slot order, of weight * out[slot], plus the shared expert's part, times sigmoid(gate) if
// it is gated. F32 sums, one rounding. Slots whose expert is not local are skipped, so their rows are never read. Where
// the second product was split, the parts of a slot are added in order first. A work-item owns four elements of a row.
#include "experts.clh"

#define GROUP 128 /* as Combination.java has it */

// Scratch rows are aligned and their pitch leaves room for whole vectors.
static inline float4 sum_of_parts(const __global uchar *rows, long at, long stride, int parts, int type) {
  float4 v = load4(rows, at, type);
  for (int i = 1; i < parts; i++) v += load4(rows, at + i * stride, type);
  return v;
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moe_combine(
    READS(out), READS(shared_out), READS(shared_logits), WRITES(y), READS(ids), READS(weights), READS(token_count),
    const long out_pitch, const long out_stride, const long shared_stride, const long y_pitch, const long id_pitch,
    const long weight_pitch, const int out_parts, const int out_type, const int shared_parts, const int shared_type,
    const int first_token, const int tokens, const int top_k, const int hidden, const int first_expert,
    const int local_experts, const int y_type) {
  const int column_groups = (hidden + 4 * GROUP - 1) / (4 * GROUP);
  const int token = (int)get_group_id(0) / column_groups;
  const int column = ((int)get_group_id(0) % column_groups * GROUP + (int)get_local_id(0)) * 4;
  if (token >= present_tokens(GIVEN(token_count) ? CONST_AT(int, token_count) : 0, first_token, tokens)) return;
  if (column >= hidden) return;
  float4 sum = (float4)(0.0f);
  const __global int *id = CONST_AT(int, ids) + token * id_pitch;
  const __global float *weight = CONST_AT(float, weights) + token * weight_pitch;
  // Four slots at a time, so that their rows are asked for together: rows that nobody wrote are read as well, and left.
  for (int from = 0; from < top_k; from += 4) {
    float4 v[4];
    float w[4];
    int is_local[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int k = min(from + i, top_k - 1);
      const int e = id[k];
      w[i] = weight[k];
      is_local[i] = from + i < top_k && e >= first_expert && e < first_expert + local_experts;
      v[i] = sum_of_parts(PLACE(out), ((long)token * top_k + k) * out_pitch + column, out_stride, out_parts, out_type);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (is_local[i]) sum = fma((float4)(w[i]), v[i], sum);
    }
  }
  if (GIVEN(shared_out)) {
    float4 v = sum_of_parts(PLACE(shared_out), token * out_pitch + column, shared_stride, shared_parts, shared_type);
    float factor = GIVEN(shared_logits) ? sigmoid_of(CONST_AT(float, shared_logits)[token]) : 1.0f;
    sum = fma((float4)(factor), v, sum);
  }
  __global uchar *p = PLACE(y) + (token * y_pitch + column) * type_bytes(y_type);
  const int valid = hidden - column;
  if (valid >= 4 && ((size_t)p & (y_type == TYPE_F32 ? 15 : 7)) == 0) {
    store4(p, 0, sum, y_type);
    return;
  }
  store_value(p, 0, sum.s0, y_type);
  if (valid > 1) store_value(p, 1, sum.s1, y_type);
  if (valid > 2) store_value(p, 2, sum.s2, y_type);
  if (valid > 3) store_value(p, 3, sum.s3, y_type);
}
