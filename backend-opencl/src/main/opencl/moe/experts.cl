// The two products of each expert.
//
//   moe_project: z[p] = x[token(p)] [gate; up]^T + bias, act[p] = f(z[p])     act: rows in sorted order
//   moe_down:    out[slot(p)] = act[p] down^T + bias                          out: rows in slot order (or by token)
//
// act and out lie in scratch memory, 16-byte aligned with a pitch that is a multiple of 16 bytes; columns beyond the
// width hold nothing and may be written. Rows of out that no slot here owns stay unwritten. Groups work off a list of
// tiles that the device made (experts.clh). A tile's columns are gates in its first half and the ups that belong to them
// in the second. On NVIDIA few rows have kernels of their own: few_rows.clh.
#include "experts.clh"
#include "products.clh"

// Row i of expert e starts at element e * expert + i * row.
#define WEIGHTS(name) READS(name), const long name##_expert, const long name##_row
#define WEIGHT_AT(name, e, i) (PLACE(name) + ((e) * name##_expert + (i) * name##_row) * type_bytes(weight_type))
#define BIAS_AT(name, e, i) (GIVEN(name) ? load_value(WEIGHT_AT(name, e, i), 0, weight_type) : 0.0f)

__kernel __attribute__((reqd_work_group_size(GROUP_SIZE, 1, 1))) void moe_project(
    READS(x), WRITES(act), WRITES(z), READS(z_rows), READS(permutation), READS(tiles), READS(token_count),
    WEIGHTS(gate), WEIGHTS(up), WEIGHTS(gate_bias), WEIGHTS(up_bias), const long x_pitch, const long act_pitch,
    const long z_pitch, const int first_token, const int tokens, const int top_k, const int hidden, const int width,
    const int x_type, const int weight_type, const int activation, const float alpha, const float limit,
    const int most_tiles) {
  SHARED_MEMORY;
  const int4 t = tile_of(GIVEN(tiles) ? CONST_AT(int, tiles) : 0, GIVEN(token_count) ? CONST_AT(int, token_count) : 0,
                         first_token, tokens, GROUP_M, most_tiles);
  if (t.s0 < 0) return;
  const int expert = t.s0, row = t.s1, end = t.s2;
  const int gated = GIVEN(gate);
  const int wide = gated ? GROUP_N / 2 : GROUP_N;  // columns of act
  const int column = t.s3 * wide;
  const __global int *slots = CONST_AT(int, permutation);
  FIND_ROWS(a, GROUP_M, r,
            row + r < end ? PLACE(x) + (GIVEN(permutation) ? slots[row + r] / top_k : row + r) * x_pitch * type_bytes(x_type)
                          : 0);
  FIND_ROWS(b, GROUP_N, r,
            column + r % wide >= width ? 0
            : gated && r < wide        ? WEIGHT_AT(gate, expert, column + r)
                                       : WEIGHT_AT(up, expert, column + r % wide));
  float acc[ACC];
  ZERO_TILE(acc);
#define STAGE(to, k)                                                                      \
  do {                                                                                    \
    STAGE_BY_K(to, a, GROUP_M, x_type, k, hidden);                                        \
    STAGE_BY_K((to) + OPERAND_ELEMENTS(GROUP_M), b, GROUP_N, weight_type, k, hidden);     \
  } while (0)
  PRODUCT(hidden, STAGE, MULTIPLY_BY_K);
#undef STAGE
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    for (int i = (int)get_local_id(0); i < WM * (wide / 4); i += GROUP_SIZE) {
      const int r = i / (wide / 4), c = i % (wide / 4) * 4;
      const int sorted = row + part * WM + r;
      const int at = column + c, valid = width - at;
      if (sorted >= end || valid <= 0) continue;
      float4 g = (float4)(0.0f), u = FOUR_AT(r, c);
      if (gated) {
        g = u;
        u = FOUR_AT(r, GROUP_N / 2 + c);
      }
      if (GIVEN(up_bias)) {
        u.s0 += BIAS_AT(up_bias, expert, at);
        if (valid > 1) u.s1 += BIAS_AT(up_bias, expert, at + 1);
        if (valid > 2) u.s2 += BIAS_AT(up_bias, expert, at + 2);
        if (valid > 3) u.s3 += BIAS_AT(up_bias, expert, at + 3);
      }
      if (GIVEN(gate_bias)) {
        g.s0 += BIAS_AT(gate_bias, expert, at);
        if (valid > 1) g.s1 += BIAS_AT(gate_bias, expert, at + 1);
        if (valid > 2) g.s2 += BIAS_AT(gate_bias, expert, at + 2);
        if (valid > 3) g.s3 += BIAS_AT(gate_bias, expert, at + 3);
      }
      if (GIVEN(z)) {
        const long z_row = (GIVEN(z_rows) ? CONST_AT(int, z_rows)[slots[sorted]] : sorted) * z_pitch;
        if (gated) store_four(PLACE(z), z_row + at, x_type, g, valid);
        store_four(PLACE(z), z_row + (gated ? width : 0) + at, x_type, u, valid);
      }
      float4 v = (float4)(activate(activation, alpha, limit, g.s0, u.s0), activate(activation, alpha, limit, g.s1, u.s1),
                          activate(activation, alpha, limit, g.s2, u.s2), activate(activation, alpha, limit, g.s3, u.s3));
      store_four(PLACE(act), sorted * act_pitch + at, x_type, v, valid);
    }
  }
}

// Part y of the grid sums split_depth of the width, into a copy of out of its own where there are several; the bias
// goes to the first.
__kernel __attribute__((reqd_work_group_size(GROUP_SIZE, 1, 1))) void moe_down(
    READS(act), WRITES(out), READS(permutation), READS(tiles), READS(token_count), WEIGHTS(down), WEIGHTS(down_bias),
    const long act_pitch, const long out_pitch, const long split_stride, const int split_depth, const int first_token,
    const int tokens, const int hidden, const int width, const int act_type, const int out_type, const int weight_type,
    const int most_tiles) {
  SHARED_MEMORY;
  const int4 t = tile_of(GIVEN(tiles) ? CONST_AT(int, tiles) : 0, GIVEN(token_count) ? CONST_AT(int, token_count) : 0,
                         first_token, tokens, GROUP_M, most_tiles);
  if (t.s0 < 0) return;
  const int expert = t.s0, row = t.s1, end = t.s2;
  const int column = t.s3 * GROUP_N;
  const int split = (int)get_group_id(1);
  const int from = split * split_depth;
  const int depth = max(min(width - from, split_depth), 0);
  const __global int *slots = CONST_AT(int, permutation);
  FIND_ROWS(a, GROUP_M, r, row + r < end ? PLACE(act) + ((row + r) * act_pitch + from) * type_bytes(act_type) : 0);
  FIND_ROWS(b, GROUP_N, r,
            column + r < hidden ? WEIGHT_AT(down, expert, column + r) + (long)from * type_bytes(weight_type) : 0);
  float acc[ACC];
  ZERO_TILE(acc);
#define STAGE(to, k)                                                                      \
  do {                                                                                    \
    STAGE_BY_K(to, a, GROUP_M, act_type, k, depth);                                       \
    STAGE_BY_K((to) + OPERAND_ELEMENTS(GROUP_M), b, GROUP_N, weight_type, k, depth);      \
  } while (0)
  PRODUCT(depth, STAGE, MULTIPLY_BY_K);
#undef STAGE
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    for (int i = (int)get_local_id(0); i < WM * (GROUP_N / 4); i += GROUP_SIZE) {
      const int r = i / (GROUP_N / 4), c = i % (GROUP_N / 4) * 4;
      const int sorted = row + part * WM + r;
      const int at = column + c, valid = hidden - at;
      if (sorted >= end || valid <= 0) continue;
      float4 v = FOUR_AT(r, c);
      if (GIVEN(down_bias) && split == 0) {
        v.s0 += BIAS_AT(down_bias, expert, at);
        if (valid > 1) v.s1 += BIAS_AT(down_bias, expert, at + 1);
        if (valid > 2) v.s2 += BIAS_AT(down_bias, expert, at + 2);
        if (valid > 3) v.s3 += BIAS_AT(down_bias, expert, at + 3);
      }
      const long slot = GIVEN(permutation) ? slots[sorted] : sorted;
      store_four(PLACE(out), split * split_stride + slot * out_pitch + at, out_type, v, valid);
    }
  }
}

#if UNITS == 1 && GROUP_M == 16  // the tile for few rows; others need not be compiled with it
#include "few_rows.clh"
#endif
