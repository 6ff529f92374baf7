#version 460
// The products of experts of few slots, which nobody has sorted.
//
//   moe_project_slots: act[s] = f(x[token(s)] [gate; up]^T + bias) of the expert of slot s
//   moe_down_slots:    out[s] = act[s] down^T + bias
//
// Groups walk the slots, all columns of one before the next. A group looks for the slots of its own slot's expert; if its
// own is the first of them, the seventeenth and so on, it takes it and those that follow, sixteen at most, else it leaves.
// So weights are read once for sixteen rows, as where slots are sorted, and the order of all sums is the same. Slots
// whose expert is not local, or whose token is not there, are left alone. act and out lie as few_rows.glsl has them, which
// says how weights are streamed.
#include "experts.glsl"
#include "few_rows.glsl"

#define MOST_SLOTS 64 /* as FewSlots.java has it */

// Row i of expert e starts at element e * expert + i * row.
#define WEIGHTS(name)     \
  READS(name);            \
  int64_t name##_expert;  \
  int64_t name##_row
#define WEIGHT_AT(name, e, i) at(a.name, (e) * a.name##_expert + (i) * a.name##_row, 2)

#ifdef KERNEL_moe_project_slots
STORED_ARGUMENTS {
  READS(x);
  WRITES(act);
  READS(ids);
  READS(token_count);
  WEIGHTS(gate);
  WEIGHTS(up);
  WEIGHTS(gate_bias);
  WEIGHTS(up_bias);
  int64_t id_pitch;
  int64_t x_pitch;
  int64_t act_pitch;
  int tokens;
  int top_k;
  int first_expert;
  int local_experts;
  int hidden;
  int width;
  int activation;
  float alpha;
  float limit;
};
#else
STORED_ARGUMENTS {
  READS(act);
  WRITES(out_rows);
  READS(ids);
  READS(token_count);
  WEIGHTS(down);
  WEIGHTS(down_bias);
  int64_t id_pitch;
  int64_t act_pitch;
  int64_t out_pitch;
  int tokens;
  int top_k;
  int first_expert;
  int local_experts;
  int hidden;
  int width;
};
#endif
TAKES_ARGUMENTS;

shared uint of_expert[MOST_SLOTS / 32];  // a bit for each slot of the group's expert
shared int row_slots[FEW_ROWS];

// The local expert of a slot, or -1.
int expert_of(int slot) {
  const int token = slot / a.top_k;
  if (token >= present_tokens(a.token_count, 0, a.tokens)) return -1;
  const int expert = load_int(a.ids, token * a.id_pitch + slot % a.top_k) - a.first_expert;
  return expert < a.local_experts ? max(expert, -1) : -1;
}

// How many slots of the expert come before this one.
int slots_before(int slot) {
  const uint below = (1u << (slot % 32)) - 1u;
  return slot < 32 ? bitCount(of_expert[0] & below) : bitCount(of_expert[0]) + bitCount(of_expert[1] & below);
}

// The expert of the group's rows, or -1 if it has none; how many rows, and which columns.
int find_rows(out int rows, out int column_tile) {
  const int slots = a.tokens * a.top_k, column_tiles = int(groups) / slots;
  const int own = group_number() / column_tiles, other = local_item();
  column_tile = group_number() % column_tiles;
  rows = 0;
  const int expert = expert_of(own);
  int others = -1;
  if (other < slots) others = expert_of(other);
  if (other < MOST_SLOTS / 32) of_expert[other] = 0u;
  barrier();
  if (expert >= 0 && others == expert) atomicOr(of_expert[other / 32], 1u << (other % 32));
  barrier();
  const int before = slots_before(own);
  if (expert < 0 || before % FEW_ROWS != 0) return -1;
  rows = min(bitCount(of_expert[0]) + bitCount(of_expert[1]) - before, FEW_ROWS);
  if (others == expert) {
    const int row = slots_before(other) - before;
    if (row >= 0 && row < FEW_ROWS) row_slots[row] = other;
  }
  barrier();
  return expert;
}

void main() {
  int rows, column_tile;
  const int expert = find_rows(rows, column_tile);
  if (expert < 0) return;
  // Rows that are not there are another's: their columns of the product are left.
  const int slot = row_slots[min(FEW_LANE / 4, rows - 1)], second_slot = row_slots[min(8 + FEW_LANE / 4, rows - 1)];
  const int width = a.width, hidden = a.hidden;
  float c[8];
#ifdef KERNEL_moe_project_slots
  // Eight gates and the ups that belong to them; without gates sixteen ups.
  const bool gated = GIVEN(gate);
  const int column = (column_tile * FEW_SETS + FEW_SET) * (gated ? FEW_COLUMNS / 2 : FEW_COLUMNS) + FEW_LANE / 4;
  const int low = min(column, width - 1), high = min(gated ? column : column + 8, width - 1);
  stream_product(gated ? WEIGHT_AT(gate, expert, low) : WEIGHT_AT(up, expert, low), WEIGHT_AT(up, expert, high),
                 at(a.x, slot / a.top_k * a.x_pitch, 2), at(a.x, second_slot / a.top_k * a.x_pitch, 2), rows > 8, hidden,
                 c);
#else
  const int column = (column_tile * FEW_SETS + FEW_SET) * FEW_COLUMNS + FEW_LANE / 4;
  stream_product(WEIGHT_AT(down, expert, min(column, hidden - 1)), WEIGHT_AT(down, expert, min(column + 8, hidden - 1)),
                 at(a.act, slot * a.act_pitch, 2), at(a.act, second_slot * a.act_pitch, 2), rows > 8, width, c);
#endif
  if (FEW_WAVE % FEW_SHARE > 0) return;
  [[unroll]] for (int i = 0; i < 8; i++) {
    const int row = FEW_OF_EXPERT(i);
    if (row >= rows) continue;
#ifdef KERNEL_moe_project_slots
    const int of = gated ? column : column + FEW_WEIGHT(i);
    if ((!gated || i < 4) && of < width) {
      float g = 0.0, u = c[i];
      if (gated) {
        g = c[i];
        u = c[i % 4 + 4];
      }
      if (GIVEN(up_bias)) u += load_value(WEIGHT_AT(up_bias, expert, of), 0, TYPE);
      if (GIVEN(gate_bias)) g += load_value(WEIGHT_AT(gate_bias, expert, of), 0, TYPE);
      STORE(a.act, row_slots[row] * a.act_pitch + of, activate(a.activation, a.alpha, a.limit, g, u));
    }
#else
    const int of = column + FEW_WEIGHT(i);
    if (of < hidden) {
      float v = c[i];
      if (GIVEN(down_bias)) v += load_value(WEIGHT_AT(down_bias, expert, of), 0, TYPE);
      STORE(a.out_rows, row_slots[row] * a.out_pitch + of, v);
    }
#endif
  }
}
