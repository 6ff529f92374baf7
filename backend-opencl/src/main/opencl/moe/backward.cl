// The stages of the backward pass that are matrix products over the slots of experts (backward.clh):
//
//   project              z[p] = W13 x[t(p)] + b13, where forward did not save it; F32
//   slots                da[p] = s(p) W2^T dy[t(p)]; with z: dz = da f'(z), kept for the next three;
//                        s(p) f(z), kept for the gradient of W2; sum of f(z) da / s(p), which is the slot's part
//                        of its weight's gradient, by tile of columns, so that sums have one order
//   inputs               dx of slot p = W13^T dz[p]
//   down_gradient        dW2 of an expert = sum over its p of dy[t(p)] (s(p) f(z[p]))^T
//   projection_gradient  dW13 of an expert = sum over its p of dz[p] x[t(p)]^T
//
// dy and x are gathered by token as they are read; nothing is permuted in memory. What is kept between stages is in
// the storage type where matrix units multiply it next, else F32. The weight of a slot is folded into f(z) rather than
// into dy, which stays exact: so each product sees one rounding. The first three stages work off a list of tiles that
// the device made (backward_rows.cl); the gradients have a group for each tile of each expert's weight, whose k are
// the expert's slots. An expert without slots gets zeros from the same code.
#include "backward.clh"
#include "products.clh"

#define RASTER 8 /* tiles of rows that share a tile of columns; as MoeBackwardPass.java has it */

// A tile of the first three stages: {expert, first slot, slots, first column}; expert -1: none. Groups that run
// together share rows of weights and of tokens.
static inline int4 row_tile(const __global int *experts, const __global int *tiles, const __global int *tile_count,
                            int column_tiles) {
  const long id = (long)get_group_id(0), all = (long)RASTER * column_tiles;
  const int within = (int)(id % all);
  const long tile = id / all * RASTER + within % RASTER;
  if (tile >= *tile_count) return (int4)(-1, 0, 0, 0);
  const int2 found = vload2(tile, tiles);
  const int2 slots = vload2(found.s0, experts);
  return (int4)(found.s0, slots.s0 + found.s1, min(slots.s1 - found.s1, GROUP_M), within / RASTER * GROUP_N);
}
#define ROW_TILE(column_tiles) \
  row_tile(CONST_AT(int, slot_experts), CONST_AT(int, tiles), CONST_AT(int, tile_count), column_tiles)

// Each row and four of the columns of a finished part.
#define EACH_FOUR(r, c)                                                                          \
  for (int i_ = (int)get_local_id(0); i_ < WM * (GROUP_N / 4); i_ += GROUP_SIZE)                 \
    for (int r = i_ / (GROUP_N / 4), c = i_ % (GROUP_N / 4) * 4, once_ = 1; once_; once_ = 0)

static inline Rows projection_rows(long gate_row, long up_row, int gates, int count, int type) {
  Rows r = {gates > 0 ? gate_row * type_bytes(type) : 0, up_row * type_bytes(type), gates, 0, count, type};
  return r;
}

__kernel __attribute__((reqd_work_group_size(GROUP_SIZE, 1, 1))) void moe_backward_project(
    SLOTS, MATRIX_OF(READS, x), PROJECTION(READS, weight), PROJECTION(READS, bias), MATRIX_OF(WRITES, z),
    const int hidden, const int columns, const int column_tiles) {
  SHARED_MEMORY;
  const int4 t = ROW_TILE(column_tiles);
  if (t.s0 < 0) return;
  const int expert = t.s0, slot = t.s1, count = t.s2, column = t.s3;
  const __global int *tokens = CONST_AT(int, row_tokens);
  FIND_ROWS(a, GROUP_M, r, r < count && tokens[slot + r] >= 0 ? ROW_AT(x, 0, tokens[slot + r]) : 0);
  FIND_ROWS(b, GROUP_N, r, column + r < columns ? PROJECTION_AT(weight, expert, column + r) : 0);
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
    EACH_FOUR(r, c) {
      const int row = part * WM + r, at = column + c, valid = columns - at;
      if (row >= count || valid <= 0) continue;
      float4 v = FOUR_AT(r, c);
      if (GIVEN(bias_up)) {
        v.s0 += load_value(PROJECTION_AT(bias, expert, at), 0, bias_type);
        if (valid > 1) v.s1 += load_value(PROJECTION_AT(bias, expert, at + 1), 0, bias_type);
        if (valid > 2) v.s2 += load_value(PROJECTION_AT(bias, expert, at + 2), 0, bias_type);
        if (valid > 3) v.s3 += load_value(PROJECTION_AT(bias, expert, at + 3), 0, bias_type);
      }
      store_four(ROW_AT(z, 0, slot + row), at, z_type, v, valid);
    }
  }
}

// ---- slots -------------------------------------------------------------------------------------------------------

// Rounding to F16 loses up to 2^-25 of what is smaller than 2^-14, however small: more than it would have lost of
// f(z) itself, where a slot's weight is far below 1. That part is kept too, scaled, and multiplied by itself.
#define LOW_SCALE 4096.0f
static inline float low_part(float v) {
  return fabs(v) < 0x1p-14f ? (v - widen_f16(narrow_f16(v))) * LOW_SCALE : 0.0f;
}

// f(gate, up) and its derivatives: {value, by gate, by up}.
static inline float3 activation_of(int kind, float alpha, float limit, float g, float u) {
  float gate, slope, factor = u;  // value = gate * factor
  if (kind == SWIGLU) {
    float s = sigmoid_of(g);
    gate = g * s;
    slope = s + gate * sigmoid_of(-g);
  } else if (kind == GEGLU) {
    float cdf = normal_cdf(g);
    gate = g * cdf;
    slope = cdf + g * (exp(-0.5f * g * g) * 0.3989422804014327f);
  } else if (kind == GEGLU_TANH) {  // (1 + tanh y) / 2 is sigmoid(2 y)
    float y = 1.5957691216057308f * (g + 0.044715f * g * g * g);
    float s = sigmoid_of(y);
    gate = g * s;
    slope = s + gate * sigmoid_of(-y) * (1.5957691216057308f * (1.0f + 0.134145f * g * g));
  } else if (kind == SWIGLU_CLAMPED) {
    float clamped = g > limit ? limit : g;  // NaN stays NaN
    float s = sigmoid_of(alpha * clamped);
    gate = clamped * s;
    slope = g <= limit ? s + alpha * gate * sigmoid_of(-alpha * g) : 0.0f;
    factor = (u > limit ? limit : u < -limit ? -limit : u) + 1.0f;
    return (float3)(gate * factor, slope * factor, fabs(u) <= limit ? gate : 0.0f);
  } else {
    float positive = u < 0.0f ? 0.0f : u;
    return (float3)(positive * positive, 0.0f, 2.0f * positive);
  }
  return (float3)(gate * factor, slope * factor, gate);
}

// z_rows [rows]: where z has a slot's row; null: in the slot's place. weight_sums [column tiles, rows] or null.
__kernel __attribute__((reqd_work_group_size(GROUP_SIZE, 1, 1))) void moe_backward_slots(
    SLOTS, MATRIX_OF(READS, dy), MATRIX_OF(READS, down), MATRIX_OF(READS, z), READS(z_rows), MATRIX_OF(WRITES, dz),
    MATRIX_OF(WRITES, activation), MATRIX_OF(WRITES, low), WRITES(weight_sums), const int kind, const float alpha,
    const float limit, const int hidden, const int width, const int gated, const int column_tiles) {
  SHARED_MEMORY;
  const int4 t = ROW_TILE(column_tiles);
  if (t.s0 < 0) return;
  const int expert = t.s0, slot = t.s1, count = t.s2, column = t.s3;
  const __global int *tokens = CONST_AT(int, row_tokens);
  FIND_ROWS(a, GROUP_M, r, r < count && tokens[slot + r] >= 0 ? ROW_AT(dy, 0, tokens[slot + r]) : 0);
  const Rows b = plain_rows(down_pitch, 0, hidden, down_type);
  const __global uchar *b_rows = ROW_AT(down, expert, 0);
  float acc[ACC];
  ZERO_TILE(acc);
#define STAGE(to, k)                                                                                        \
  do {                                                                                                      \
    STAGE_BY_K(to, a, GROUP_M, dy_type, k, hidden);                                                         \
    STAGE_ALONG_K((to) + OPERAND_ELEMENTS(GROUP_M), b, b_rows, b_rows, 0, GROUP_N, k, column, width);       \
  } while (0)
  PRODUCT(hidden, STAGE, MULTIPLY_MIXED);
#undef STAGE
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR(r, c) {
      const int row = part * WM + r, at = column + c, valid = width - at;
      const long p = slot + row;
      float sum = 0.0f;
      if (row < count && valid > 0) {
        const float4 v = FOUR_AT(r, c);
        const float weight = CONST_AT(float, row_weights)[p];
        float4 g = (float4)(0.0f);
        const long z_row = GIVEN(z_rows) ? CONST_AT(int, z_rows)[p] : p;
        if (gated) g = load_four(ROW_AT(z, 0, z_row), at, z_type, valid);
        const float4 u = load_four(ROW_AT(z, 0, z_row), at + (gated ? width : 0), z_type, valid);
        const float3 f0 = activation_of(kind, alpha, limit, g.s0, u.s0);
        const float3 f1 = activation_of(kind, alpha, limit, g.s1, u.s1);
        const float3 f2 = activation_of(kind, alpha, limit, g.s2, u.s2);
        const float3 f3 = activation_of(kind, alpha, limit, g.s3, u.s3);
        const float4 value = (float4)(f0.s0, f1.s0, f2.s0, f3.s0);
        // Columns beyond the width hold 0 on both sides.
        sum = value.s0 * v.s0 + value.s1 * v.s1 + value.s2 * v.s2 + value.s3 * v.s3;
        const float4 da = weight * v;
        if (GIVEN(dz)) {
          if (gated) {
            store_four(ROW_AT(dz, 0, p), at, dz_type, da * (float4)(f0.s1, f1.s1, f2.s1, f3.s1), valid);
          }
          store_four(ROW_AT(dz, 0, p), at + (gated ? width : 0), dz_type,
                     da * (float4)(f0.s2, f1.s2, f2.s2, f3.s2), valid);
        }
        if (GIVEN(activation)) {
          const float4 w = weight * value;
          store_four(ROW_AT(activation, 0, p), at, activation_type, w, valid);
          if (GIVEN(low)) {
            const float4 rest = (float4)(low_part(w.s0), low_part(w.s1), low_part(w.s2), low_part(w.s3));
            store_four(ROW_AT(low, 0, p), at, low_type, rest, valid);
          }
        }
      }
      ((__local float *)shared)[r * FINISHED_PITCH + c] = sum;
    }
    if (GIVEN(weight_sums)) {
      barrier(CLK_LOCAL_MEM_FENCE);
      for (int r = (int)get_local_id(0); r < WM; r += GROUP_SIZE) {
        float sum = 0.0f;
        for (int c = 0; c < GROUP_N; c += 4) sum += ((__local float *)shared)[r * FINISHED_PITCH + c];
        if (part * WM + r < count) AT(float, weight_sums)[column / GROUP_N * rows + slot + part * WM + r] = sum;
      }
    }
  }
}

// ---- inputs ------------------------------------------------------------------------------------------------------

__kernel __attribute__((reqd_work_group_size(GROUP_SIZE, 1, 1))) void moe_backward_inputs(
    SLOTS, MATRIX_OF(READS, dz), PROJECTION(READS, weight), MATRIX_OF(WRITES, dx), const int hidden, const int columns,
    const int column_tiles) {
  SHARED_MEMORY;
  const int4 t = ROW_TILE(column_tiles);
  if (t.s0 < 0) return;
  const int expert = t.s0, slot = t.s1, count = t.s2, column = t.s3;
  FIND_ROWS(a, GROUP_M, r, r < count ? ROW_AT(dz, 0, slot + r) : 0);
  const Rows b = projection_rows(weight_gate_row, weight_up_row, weight_gates, columns, weight_type);
  const __global uchar *ups = UP_AT(weight, expert, 0);
  const __global uchar *gates = weight_gates > 0 ? GATE_AT(weight, expert, 0) : ups;
  float acc[ACC];
  ZERO_TILE(acc);
#define STAGE(to, k)                                                                                        \
  do {                                                                                                      \
    STAGE_BY_K(to, a, GROUP_M, dz_type, k, columns);                                                        \
    STAGE_ALONG_K((to) + OPERAND_ELEMENTS(GROUP_M), b, gates, ups, 0, GROUP_N, k, column, hidden);          \
  } while (0)
  PRODUCT(columns, STAGE, MULTIPLY_MIXED);
#undef STAGE
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR(r, c) {
      const int row = part * WM + r, valid = hidden - column - c;
      if (row < count && valid > 0) store_four(ROW_AT(dx, 0, slot + row), column + c, dx_type, FOUR_AT(r, c), valid);
    }
  }
}

// ---- gradients of weights ----------------------------------------------------------------------------------------

// A tile of an expert's gradient [m, n]: {expert, first row, first column}; neighbouring groups share columns.
static inline int3 weight_tile(int row_tiles, int column_tiles) {
  const int all = row_tiles * column_tiles;
  const int id = (int)(get_group_id(0) % all);
  const int from = id / (RASTER * column_tiles) * RASTER;
  const int high = min(row_tiles - from, RASTER);
  const int within = id % (RASTER * column_tiles);
  return (int3)((int)(get_group_id(0) / all), (from + within % high) * GROUP_M, within / high * GROUP_N);
}

static inline void store_gradient(__global uchar *row, int at, int type, float4 v, int valid, int accumulate) {
  if (accumulate) v += load_four(row, at, type, valid);
  store_four(row, at, type, v, valid);
}

__kernel __attribute__((reqd_work_group_size(GROUP_SIZE, 1, 1))) void moe_backward_down_gradient(
    SLOTS, MATRIX_OF(READS, dy), MATRIX_OF(READS, activation), MATRIX_OF(READS, low), MATRIX_OF(CHANGES, out),
    const int hidden, const int width, const int row_tiles, const int column_tiles, const int accumulate) {
  SHARED_MEMORY;
  const int3 t = weight_tile(row_tiles, column_tiles);
  const int expert = t.s0, row = t.s1, column = t.s2;
  const int2 slots = vload2(expert, CONST_AT(int, slot_experts));
  const __global int *tokens = CONST_AT(int, row_tokens);
  const Rows a = plain_rows(dy_pitch, slots.s0, slots.s1, dy_type);
  const Rows b = plain_rows(activation_pitch, slots.s0, slots.s1, activation_type);
  const __global uchar *a_rows = PLACE(dy);
  const __global uchar *b_rows;
  float acc[ACC];
  ZERO_TILE(acc);
#define STAGE(to, k)                                                                                        \
  do {                                                                                                      \
    STAGE_ALONG_K(to, a, a_rows, a_rows, tokens, GROUP_M, k, row, hidden);                                  \
    STAGE_ALONG_K((to) + OPERAND_ELEMENTS(GROUP_M), b, b_rows, b_rows, 0, GROUP_N, k, column, width);       \
  } while (0)
#if TYPE == TYPE_F16
  if (GIVEN(low)) {
    b_rows = PLACE(low);
    PRODUCT(slots.s1, STAGE, MULTIPLY_ALONG_K);
    for (int e = 0; e < ACC; e++) acc[e] *= 1.0f / LOW_SCALE;
  }
#endif
  b_rows = PLACE(activation);
  PRODUCT(slots.s1, STAGE, MULTIPLY_ALONG_K);
#undef STAGE
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR(r, c) {
      const int m = row + part * WM + r, valid = width - column - c;
      if (m < hidden && valid > 0) {
        store_gradient(ROW_AT(out, expert, m), column + c, out_type, FOUR_AT(r, c), valid, accumulate);
      }
    }
  }
}

// A half of out that is not given is not written.
__kernel __attribute__((reqd_work_group_size(GROUP_SIZE, 1, 1))) void moe_backward_projection_gradient(
    SLOTS, MATRIX_OF(READS, dz), MATRIX_OF(READS, x), PROJECTION(CHANGES, out), const int columns, const int hidden,
    const int row_tiles, const int column_tiles, const int accumulate) {
  SHARED_MEMORY;
  const int3 t = weight_tile(row_tiles, column_tiles);
  const int expert = t.s0, row = t.s1, column = t.s2;
  const int2 slots = vload2(expert, CONST_AT(int, slot_experts));
  const __global int *tokens = CONST_AT(int, row_tokens);
  const Rows a = plain_rows(dz_pitch, slots.s0, slots.s1, dz_type);
  const Rows b = plain_rows(x_pitch, slots.s0, slots.s1, x_type);
  const __global uchar *a_rows = PLACE(dz);
  const __global uchar *b_rows = PLACE(x);
  float acc[ACC];
  ZERO_TILE(acc);
#define STAGE(to, k)                                                                                        \
  do {                                                                                                      \
    STAGE_ALONG_K(to, a, a_rows, a_rows, 0, GROUP_M, k, row, columns);                                      \
    STAGE_ALONG_K((to) + OPERAND_ELEMENTS(GROUP_M), b, b_rows, b_rows, tokens, GROUP_N, k, column, hidden); \
  } while (0)
  PRODUCT(slots.s1, STAGE, MULTIPLY_ALONG_K);
#undef STAGE
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR(r, c) {
      const int m = row + part * WM + r, valid = hidden - column - c;
      if (m < columns && valid > 0 && PROJECTION_HAS(out, m)) {
        store_gradient(PROJECTION_AT(out, expert, m), column + c, out_type, FOUR_AT(r, c), valid, accumulate);
      }
    }
  }
}
