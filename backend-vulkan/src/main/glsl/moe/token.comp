#version 460
// The products of experts of a single token: each of its slots is a row of its own, so nothing is sorted, and the second
// product sums the slots, weighed and in slot order, so nothing is left to combine.
//
//   moe_project_token: act[k] = f(x [gate; up]^T + bias) of the expert of slot k
//   moe_down_token:    y = sum over slots of weight[k] (act[k] down^T + bias)
//
// Weights are streamed as few_units.glsl says, by waves that share the k of the same rows and add up in order; the row that
// they multiply stands in for all sixteen, so that all columns of the sums are the same. Slots whose expert is not local
// are skipped; without a token y is left alone.
#include "experts.glsl"

#ifdef KERNEL_moe_project_token
#define TOKEN_WAVES 8 /* as OneToken.java has it */
#else
#define TOKEN_WAVES 32 /* as OneToken.java has it */
#endif
#define FEW_UNROLL 1
#include "few_units.glsl"
#define MOST_SLOTS 64 /* of a token; as OneToken.java has it */

layout(local_size_x = TOKEN_WAVES * 32) in;

// Row i of expert e starts at element e * expert + i * row.
#define WEIGHTS(name)     \
  READS(name);            \
  int64_t name##_expert;  \
  int64_t name##_row
#define WEIGHT_AT(name, e, i) at(a.name, (e) * a.name##_expert + (i) * a.name##_row, 2)

#ifdef KERNEL_moe_project_token
STORED_ARGUMENTS {
  READS(x);
  WRITES(act);
  READS(ids);
  READS(token_count);
  WEIGHTS(gate);
  WEIGHTS(up);
  WEIGHTS(gate_bias);
  WEIGHTS(up_bias);
  int64_t act_pitch;
  int top_k;
  int first_expert;
  int local_experts;
  int hidden;
  int width;
  int activation;
  float alpha;
  float limit;
};
TAKES_ARGUMENTS;

shared float few_sums[TOKEN_WAVES][FEW_COLUMNS];

// A group has eight gates and the ups that belong to them, or sixteen ups; slot by slot.
void main() {
  const int column_tiles = int(groups) / a.top_k;
  const int slot = group_number() / column_tiles;
  if (present_tokens(a.token_count, 0, 1) < 1) return;
  const int expert = load_int(a.ids, slot) - a.first_expert;
  if (expert < 0 || expert >= a.local_experts) return;
  const bool gated = GIVEN(gate);
  const int wide = gated ? FEW_COLUMNS / 2 : FEW_COLUMNS, first_column = group_number() % column_tiles * wide;
  const int width = a.width, hidden = a.hidden;
  const int column = first_column + FEW_LANE / 4;
  const int low = min(column, width - 1), high = min(gated ? column : column + 8, width - 1);
  uint64_t low_row;
  if (gated) {
    low_row = WEIGHT_AT(gate, expert, low);
  } else {
    low_row = WEIGHT_AT(up, expert, low);
  }
  const uint64_t high_row = WEIGHT_AT(up, expert, high), row = a.x;
  UNIT_SUMS sums = UNIT_SUMS(0.0);
  FEW_STREAM(sums, low_row, high_row, row, row, true, FEW_WAVE * FEW_SPAN, TOKEN_WAVES * FEW_SPAN,
             hidden)
  if (FEW_LANE % 4 == 0) {
    few_sums[FEW_WAVE][FEW_LANE / 4] = sums[0];
    few_sums[FEW_WAVE][FEW_LANE / 4 + 8] = sums[4];
  }
  barrier();
  const int own = local_item(), of = first_column + own;
  if (own >= wide || of >= width) return;
  float g = 0.0, u = 0.0;
  [[unroll]] for (int w = 0; w < TOKEN_WAVES; w++) u += few_sums[w][gated ? own + 8 : own];
  if (gated) {
    [[unroll]] for (int w = 0; w < TOKEN_WAVES; w++) g += few_sums[w][own];
  }
  if (GIVEN(up_bias)) u += load_value(WEIGHT_AT(up_bias, expert, of), 0, TYPE);
  if (GIVEN(gate_bias)) g += load_value(WEIGHT_AT(gate_bias, expert, of), 0, TYPE);
  STORE(a.act, slot * a.act_pitch + of, activate(a.activation, a.alpha, a.limit, g, u));
}
#endif

#ifdef KERNEL_moe_down_token
STORED_ARGUMENTS {
  READS(act);
  WRITES(y);
  READS(ids);
  READS(weights);
  READS(token_count);
  WEIGHTS(down);
  WEIGHTS(down_bias);
  int64_t act_pitch;
  int top_k;
  int share;
  int first_expert;
  int local_experts;
  int hidden;
  int width;
};
TAKES_ARGUMENTS;

shared float few_sums[MOST_SLOTS][FEW_COLUMNS];  // of each slot's `share` waves

// A group has sixteen columns. `share` neighbouring waves share the k of a slot, and TOKEN_WAVES / share slots are worked on
// at once; share times top_k is at most MOST_SLOTS.
void main() {
  const int first_column = group_number() * FEW_COLUMNS;
  if (present_tokens(a.token_count, 0, 1) < 1) return;
  const int width = a.width, hidden = a.hidden, top_k = a.top_k, share = a.share;
  const int column = first_column + FEW_LANE / 4, part = FEW_WAVE % share, sets = TOKEN_WAVES / share;
  const int low = min(column, hidden - 1), high = min(column + 8, hidden - 1);
  for (int slot = FEW_WAVE / share; slot < top_k; slot += sets) {
    if (FEW_WAVE / share >= sets) break;  // waves that are left over
    const int expert = load_int(a.ids, slot) - a.first_expert;
    if (expert < 0 || expert >= a.local_experts) continue;
    const uint64_t low_row = WEIGHT_AT(down, expert, low), high_row = WEIGHT_AT(down, expert, high);
    const uint64_t row = at(a.act, slot * a.act_pitch, 2);
    UNIT_SUMS sums = UNIT_SUMS(0.0);
    FEW_STREAM(sums, low_row, high_row, row, row, true, part * FEW_SPAN, share * FEW_SPAN, width)
    if (FEW_LANE % 4 == 0) {
      few_sums[slot * share + part][FEW_LANE / 4] = sums[0];
      few_sums[slot * share + part][FEW_LANE / 4 + 8] = sums[4];
    }
  }
  barrier();
  const int own = local_item(), of = first_column + own;
  if (own >= FEW_COLUMNS || of >= hidden) return;
  float sum = 0.0;
  for (int slot = 0; slot < top_k; slot++) {
    const int expert = load_int(a.ids, slot) - a.first_expert;
    const float weight = load_float(a.weights, slot);
    if (expert < 0 || expert >= a.local_experts) continue;
    float v = 0.0;
    for (int w = 0; w < share; w++) v += few_sums[slot * share + w][own];
    if (GIVEN(down_bias)) v += load_value(WEIGHT_AT(down_bias, expert, of), 0, TYPE);
    sum = fma(weight, v, sum);
  }
  STORE(a.y, of, sum);
}
#endif
