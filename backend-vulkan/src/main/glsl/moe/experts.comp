#version 460
// The two products of each expert.
//
//   moe_project: z[p] = x[token(p)] [gate; up]^T + bias, act[p] = f(z[p])     act: rows in sorted order
//   moe_down:    out[slot(p)] = act[p] down^T + bias                          out: rows in slot order (or by token)
//
// act and out lie in scratch memory, 16-byte aligned with a pitch that is a multiple of 16 bytes; columns beyond the
// width hold nothing and may be written. Rows of out that no slot here owns stay unwritten. Groups work off a list of
// tiles that the device made (experts.glsl). A tile's columns are gates in its first half and the ups that belong to
// them in the second. Few rows have kernels of their own on matrix units: few_rows.glsl.
#if defined(KERNEL_moe_project_few) || defined(KERNEL_moe_down_few)
#include "experts.glsl"
#else
#include "products.glsl"
#endif

#if MATRIX != 0 && TYPE != 0
// All rows start at multiples of 16 bytes, x and act have less than 2^32 chunks of 16 bytes, and depths and columns are
// multiples of the tile's: the host has looked.
layout(constant_id = 0) const bool WHOLE = false;
#else
const bool WHOLE = false;
#endif

// Row i of expert e starts at element e * expert + i * row.
#define WEIGHTS(name)     \
  READS(name);            \
  int64_t name##_expert;  \
  int64_t name##_row
#define WEIGHT_AT(name, e, i) place(a.name, (e) * a.name##_expert + (i) * a.name##_row, a.weight_type)
#define WEIGHTS_ALIGNED(name) aligned_rows(a.name, a.name##_expert | a.name##_row, a.weight_type)
// v of column `of` of an expert, and the three after it, with their biases.
#define ADD_BIAS(name, v, e, of, valid)                                                               \
  if (GIVEN(name)) {                                                                                  \
    [[unroll]] for (int b_ = 0; b_ < 4; b_++) {                                                       \
      if (b_ < (valid)) v[b_] += load_value(WEIGHT_AT(name, e, (of) + b_), 0, a.weight_type);         \
    }                                                                                                 \
  }

#if defined(KERNEL_moe_project) || defined(KERNEL_moe_project_few)
STORED_ARGUMENTS {
  READS(x);
  WRITES(act);
  WRITES(z);
  READS(z_rows);
  READS(permutation);
  READS(tiles);
  READS(token_count);
  WEIGHTS(gate);
  WEIGHTS(up);
  WEIGHTS(gate_bias);
  WEIGHTS(up_bias);
  int64_t x_pitch;
  int64_t act_pitch;
  int64_t z_pitch;
  int first_token;
  int tokens;
  int top_k;
  int hidden;
  int width;
  int x_type;
  int weight_type;
  int activation;
  float alpha;
  float limit;
  int most_tiles;
};
TAKES_ARGUMENTS;

// The token of a sorted row, and its row of x.
int x_token(int sorted) {
  int token = sorted;
  if (GIVEN(permutation)) token = load_int(a.permutation, sorted) / a.top_k;
  return token;
}
uint64_t x_row(int sorted, int end) {
  if (sorted >= end) return 0ul;
  return place(a.x, x_token(sorted) * a.x_pitch, a.x_type);
}
#endif

#ifdef KERNEL_moe_project
void main() {
  const ivec4 t = OWN_TILE;
  if (t.x < 0) return;
  const int expert = t.x, row = t.y, end = t.z;
  const bool gated = GIVEN(gate);
  const int wide = gated ? GROUP_N / 2 : GROUP_N;  // columns of act
  const int column = t.w * wide;
  const int hidden = a.hidden, width = a.width, x_type = a.x_type, weight_type = a.weight_type;
#if MATRIX != 0 && TYPE != 0
  if (WHOLE) {
    FIND_CHUNKS(x_chunks, r, uint(x_token(min(row + r, end - 1))) * uint(a.x_pitch / CHUNK));
    const int own = column + ROW_BY_K(0);
    const uint64_t low =
        (gated ? WEIGHT_AT(gate, expert, own) : WEIGHT_AT(up, expert, own)) + uint64_t(COLUMN_BY_K * 16);
    const uint64_t high =
        WEIGHT_AT(up, expert, gated ? own : own + GROUP_N / 2) + uint64_t(COLUMN_BY_K * 16);
    const int64_t up_step = a.up_row * (ROW_STEP * 2), low_step = gated ? a.gate_row * (ROW_STEP * 2) : up_step;
    const uint64_t x = a.x;
    uvec4 held_x[HELD_BY_K(GROUP_M)], held_w[HELD_BY_K(GROUP_N)];
    clear_sums();
#define FETCH(k)                            \
  FETCH_CHUNKS(held_x, x, x_chunks, k)      \
  FETCH_HALVES(held_w, low, low_step, high, up_step, k)
#define PUT(to)                             \
  PUT_BY_K(to, held_x, GROUP_M)             \
  PUT_BY_K((to) + SECOND_OPERAND, held_w, GROUP_N)
    PRODUCT(hidden, FETCH, PUT, multiply_by_k);
#undef FETCH
#undef PUT
  } else
#endif
  {
  FIND_ROWS(x_rows, GROUP_M, r, x_row(row + r, end));
  FIND_ROWS(w_rows, GROUP_N, r,
            column + r % wide >= width ? 0ul
            : gated && r < wide        ? WEIGHT_AT(gate, expert, column + r)
                                       : WEIGHT_AT(up, expert, column + r % wide));
  uvec4 held_x[HELD_BY_K(GROUP_M)], held_w[HELD_BY_K(GROUP_N)];
  const bool x_aligned = aligned_rows(a.x, a.x_pitch, x_type);
  const bool w_aligned = WEIGHTS_ALIGNED(gate) && WEIGHTS_ALIGNED(up);
  clear_sums();
#define FETCH(k)                                               \
  FETCH_BY_K(held_x, x_rows, GROUP_M, x_type, k, hidden, x_aligned)       \
  FETCH_BY_K(held_w, w_rows, GROUP_N, weight_type, k, hidden, w_aligned)
#define PUT(to)                                                \
  PUT_BY_K(to, held_x, GROUP_M)                                \
  PUT_BY_K((to) + SECOND_OPERAND, held_w, GROUP_N)
  PRODUCT(hidden, FETCH, PUT, multiply_by_k);
  }
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR_OF(wide, r, c) {
      const int sorted = row + part * WM + r;
      const int of = column + c, valid = width - of;
      if (sorted < end && valid > 0) {
        vec4 g = vec4(0.0), u = four_at(r, c);
        if (gated) {
          g = u;
          u = four_at(r, GROUP_N / 2 + c);
        }
        ADD_BIAS(up_bias, u, expert, of, valid)
        ADD_BIAS(gate_bias, g, expert, of, valid)
        if (GIVEN(z)) {
          int z_row = sorted;
          if (GIVEN(z_rows)) z_row = load_int(a.z_rows, load_int(a.permutation, sorted));
          if (gated) store_four(a.z, z_row * a.z_pitch + of, x_type, g, valid);
          store_four(a.z, z_row * a.z_pitch + (gated ? width : 0) + of, x_type, u, valid);
        }
        vec4 v;
        for (int i = 0; i < 4; i++) v[i] = activate(a.activation, a.alpha, a.limit, g[i], u[i]);
        store_four(a.act, sorted * a.act_pitch + of, x_type, v, valid);
      }
    }
  }
}
#endif

#if defined(KERNEL_moe_down) || defined(KERNEL_moe_down_few)
// Part y of the grid sums split_depth of the width, into a copy of out of its own where there are several; the bias
// goes to the first.
STORED_ARGUMENTS {
  READS(act);
  WRITES(out_rows);
  READS(permutation);
  READS(tiles);
  READS(token_count);
  WEIGHTS(down);
  WEIGHTS(down_bias);
  int64_t act_pitch;
  int64_t out_pitch;
  int64_t split_stride;
  int split_depth;
  int first_token;
  int tokens;
  int hidden;
  int width;
  int act_type;
  int out_type;
  int weight_type;
  int most_tiles;
};
TAKES_ARGUMENTS;
#endif

#ifdef KERNEL_moe_down
void main() {
  const ivec4 t = OWN_TILE;
  if (t.x < 0) return;
  const int expert = t.x, row = t.y, end = t.z;
  const int column = t.w * GROUP_N;
  const int split = int(gl_WorkGroupID.y);
  const int from = split * a.split_depth;
  const int depth = max(min(a.width - from, a.split_depth), 0);
  const int hidden = a.hidden, act_type = a.act_type, weight_type = a.weight_type, out_type = a.out_type;
#if MATRIX != 0 && TYPE != 0
  if (WHOLE) {
    FIND_CHUNKS(x_chunks, r, uint(min(row + r, end - 1)) * uint(a.act_pitch / CHUNK));
    const int own = column + ROW_BY_K(0);
    const uint64_t low = at(WEIGHT_AT(down, expert, own), from, 2) + uint64_t(COLUMN_BY_K * 16);
    const uint64_t high = at(WEIGHT_AT(down, expert, own + GROUP_N / 2), from, 2) + uint64_t(COLUMN_BY_K * 16);
    const int64_t step = a.down_row * (ROW_STEP * 2);
    const uint64_t x = at(a.act, from, 2);
    uvec4 held_x[HELD_BY_K(GROUP_M)], held_w[HELD_BY_K(GROUP_N)];
    clear_sums();
#define FETCH(k)                            \
  FETCH_CHUNKS(held_x, x, x_chunks, k)      \
  FETCH_HALVES(held_w, low, step, high, step, k)
#define PUT(to)                             \
  PUT_BY_K(to, held_x, GROUP_M)             \
  PUT_BY_K((to) + SECOND_OPERAND, held_w, GROUP_N)
    PRODUCT(depth, FETCH, PUT, multiply_by_k);
#undef FETCH
#undef PUT
  } else
#endif
  {
  FIND_ROWS(x_rows, GROUP_M, r, row + r < end ? place(a.act, (row + r) * a.act_pitch + from, act_type) : 0ul);
  FIND_ROWS(w_rows, GROUP_N, r,
            column + r < hidden ? at(WEIGHT_AT(down, expert, column + r), from, type_bytes(weight_type)) : 0ul);
  uvec4 held_x[HELD_BY_K(GROUP_M)], held_w[HELD_BY_K(GROUP_N)];
  const bool x_aligned = aligned_rows(at(a.act, from, type_bytes(act_type)), a.act_pitch, act_type);
  const bool w_aligned = WEIGHTS_ALIGNED(down);
  clear_sums();
#define FETCH(k)                                               \
  FETCH_BY_K(held_x, x_rows, GROUP_M, act_type, k, depth, x_aligned)      \
  FETCH_BY_K(held_w, w_rows, GROUP_N, weight_type, k, depth, w_aligned)
#define PUT(to)                                                \
  PUT_BY_K(to, held_x, GROUP_M)                                \
  PUT_BY_K((to) + SECOND_OPERAND, held_w, GROUP_N)
  PRODUCT(depth, FETCH, PUT, multiply_by_k);
  }
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR(r, c) {
      const int sorted = row + part * WM + r;
      const int of = column + c, valid = hidden - of;
      if (sorted < end && valid > 0) {
        vec4 v = four_at(r, c);
        if (split == 0) {
          ADD_BIAS(down_bias, v, expert, of, valid)
        }
        int slot = sorted;
        if (GIVEN(permutation)) slot = load_int(a.permutation, sorted);
        store_four(a.out_rows, split * a.split_stride + slot * a.out_pitch + of, out_type, v, valid);
      }
    }
  }
}
#endif

#if defined(KERNEL_moe_project_few) || defined(KERNEL_moe_down_few)
#include "few_rows.glsl"
#endif
