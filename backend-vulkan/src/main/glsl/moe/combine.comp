#version 460
// y[t] = sum over slots, in slot order, of weight * out[slot], plus the shared expert's part, times sigmoid(gate) if
// it is gated. F32 sums, one rounding. Slots whose expert is not local are skipped, so what their rows hold counts for
// nothing. Where the second product was split, the parts of a slot are added in order first. A work-item owns four
// elements of a row.
#include "experts.glsl"

#define GROUP 128 /* as Combination.java has it */
#define AT_ONCE 8 /* slots of a token that are asked for together */

layout(local_size_x = GROUP) in;

STORED_ARGUMENTS {
  READS(out_rows);
  READS(shared_out);
  READS(shared_logits);
  WRITES(y);
  READS(ids);
  READS(weights);
  READS(token_count);
  int64_t out_pitch;
  int64_t out_stride;
  int64_t shared_stride;
  int64_t y_pitch;
  int64_t id_pitch;
  int64_t weight_pitch;
  int out_parts;
  int out_type;
  int shared_parts;
  int shared_type;
  int first_token;
  int tokens;
  int top_k;
  int hidden;
  int first_expert;
  int local_experts;
  int y_type;
};
TAKES_ARGUMENTS;

// Scratch rows are aligned and their pitch leaves room for whole vectors.
vec4 sum_of_parts(uint64_t rows, int64_t i, int64_t stride, int parts, int type) {
  vec4 v = load4(place(rows, i, type), type);
  for (int part = 1; part < parts; part++) v += load4(place(rows, i + part * stride, type), type);
  return v;
}

void main() {
  const int column_groups = (a.hidden + 4 * GROUP - 1) / (4 * GROUP);
  const int token = group_number() / column_groups;
  const int column = (group_number() % column_groups * GROUP + local_item()) * 4;
  const int top_k = a.top_k;
  if (token >= present_tokens(a.token_count, a.first_token, a.tokens)) return;
  if (column >= a.hidden) return;
  vec4 sum = vec4(0.0);
  const uint64_t id = at(a.ids, token * a.id_pitch, 4), weight = at(a.weights, token * a.weight_pitch, 4);
  const bool whole = a.out_parts == 1 && a.out_type != TYPE_F32;  // a row is one load
  // Several slots at a time, so that their rows are asked for together: rows that nobody wrote are read as well, and left.
  for (int from = 0; from < top_k; from += AT_ONCE) {
    const uint64_t row = place(a.out_rows, (int64_t(token) * top_k + from) * a.out_pitch + column, a.out_type);
    const uint64_t pitch = uint64_t(a.out_pitch) * uint64_t(type_bytes(a.out_type));
    uvec2 bits[AT_ONCE];
    vec4 v[AT_ONCE];
    float w[AT_ONCE];
    bool here[AT_ONCE];
    [[unroll]] for (int i = 0; i < AT_ONCE; i++) {
      bits[i] = uvec2(0u);
      v[i] = vec4(0.0);
      w[i] = 0.0;
      here[i] = false;
      if (from + i < top_k) {
        const int e = load_int(id, from + i);
        w[i] = load_float(weight, from + i);
        here[i] = e >= a.first_expert && e < a.first_expert + a.local_experts;
        if (whole) {
          bits[i] = Words2(row + uint64_t(i) * pitch).v;
        } else {
          v[i] = sum_of_parts(row + uint64_t(i) * pitch, 0, a.out_stride, a.out_parts, a.out_type);
        }
      }
    }
    [[unroll]] for (int i = 0; i < AT_ONCE; i++) {
      if (whole) v[i] = widen4(bits[i], a.out_type);
      if (here[i]) sum = fma(vec4(w[i]), v[i], sum);
    }
  }
  if (GIVEN(shared_out)) {
    vec4 v = sum_of_parts(a.shared_out, token * a.out_pitch + column, a.shared_stride, a.shared_parts, a.shared_type);
    float factor = 1.0;
    if (GIVEN(shared_logits)) factor = sigmoid_of(load_float(a.shared_logits, token));
    sum = fma(vec4(factor), v, sum);
  }
  store_four(a.y, token * a.y_pitch + column, a.y_type, sum, a.hidden - column);
}
