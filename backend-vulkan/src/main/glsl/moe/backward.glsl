// What the kernels of MoE's backward pass are given. p counts the slots that local experts compute, in the order of the
// permutation; t(p) is the token of slot p, s(p) its routing weight.
#ifndef WEFT_MOE_BACKWARD
#define WEFT_MOE_BACKWARD

#include "experts.glsl"

// [rows, columns] of each expert, of a type known at run time. Strides in elements. Not given: 0.
#define MATRIX_OF(access, name) \
  access(name);                 \
  int64_t name##_pitch;         \
  int64_t name##_expert;        \
  int name##_type
#define ROW_AT(name, e, row) place(a.name, (e) * a.name##_expert + (row) * a.name##_pitch, a.name##_type)

// A first projection of each expert: rows below `gates` are gates, the others ups. A bias: rows of one element. A
// gradient may be asked for of one half only.
#define PROJECTION(access, name) \
  access(name##_gate);           \
  int64_t name##_gate_expert;    \
  int64_t name##_gate_row;       \
  access(name##_up);             \
  int64_t name##_up_expert;      \
  int64_t name##_up_row;         \
  int name##_type;               \
  int name##_gates
#define GATE_AT(name, e, row) \
  place(a.name##_gate, (e) * a.name##_gate_expert + (row) * a.name##_gate_row, a.name##_type)
#define UP_AT(name, e, row) place(a.name##_up, (e) * a.name##_up_expert + (row) * a.name##_up_row, a.name##_type)
#define PROJECTION_HAS(name, row) ((row) < a.name##_gates ? GIVEN(name##_gate) : GIVEN(name##_up))
#define PROJECTION_AT(name, e, row) \
  ((row) < a.name##_gates ? GATE_AT(name, e, row) : UP_AT(name, e, (row) - a.name##_gates))
// As rows of products.glsl, whose k they are.
#define PROJECTION_ROWS(name, e, all)                                                                                \
  Rows(a.name##_gates > 0 ? GATE_AT(name, e, 0) : 0ul, UP_AT(name, e, 0), 0ul,                                       \
       a.name##_gate_row * type_bytes(a.name##_type), a.name##_up_row * type_bytes(a.name##_type), a.name##_gates, 0, \
       all, a.name##_type,                                                                                            \
       aligned_rows((a.name##_gates > 0 ? GATE_AT(name, e, 0) : 0ul) | UP_AT(name, e, 0),                             \
                    a.name##_gate_row | a.name##_up_row, a.name##_type))

// Which slots each expert has, made by backward_rows.comp. Whatever ids and permutation held, everything lies within
// [0, rows).
//   experts      [experts]: first slot and number of slots
//   tiles        expert and first slot, within the expert, of each tile of rows
//   row_tokens   [rows]: the token of a slot, or -1
//   row_weights  [rows]
#define SLOTS          \
  READS(slot_experts); \
  READS(tiles);        \
  READS(tile_count);   \
  READS(row_tokens);   \
  READS(row_weights);  \
  int64_t rows

// How many of the tokens there are.
int64_t present_of(uint64_t count, int64_t tokens) {
  int64_t present = tokens;
  if (count != 0ul) present = min(int64_t(max(load_int(count, 0), 0)), tokens);
  return present;
}
#define PRESENT_OF(tokens) present_of(a.token_count, tokens)

#endif
