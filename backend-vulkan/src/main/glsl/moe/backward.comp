#version 460
// The stages of the backward pass that are matrix products over the slots of experts (backward.glsl):
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
// the device made (backward_rows.comp); the gradients have a group for each tile of each expert's weight, whose k are
// the expert's slots. An expert without slots gets zeros from the same code.
#include "backward.glsl"
#include "products.glsl"

#if MATRIX != 0 && TYPE != 0
// All rows start at multiples of 16 bytes, x, dy and what is kept between stages have less than 2^32 chunks of 16 bytes,
// and depths (but for numbers of slots) and columns are multiples of the tile's: the host has looked.
layout(constant_id = 0) const bool WHOLE = false;
#else
const bool WHOLE = false;
#endif

#define RASTER 8 /* tiles of rows that share a tile of columns; as MoeBackwardPass.java has it */

// A tile of the first three stages: {expert, first slot, slots, first column}; expert -1: none. Groups that run
// together share rows of weights and of tokens.
ivec4 row_tile(uint id, uint64_t experts, uint64_t tiles, uint64_t tile_count, int column_tiles) {
  const uint all = uint(RASTER * column_tiles);
  const int within = int(id % all);
  const int tile = int(id / all) * RASTER + within % RASTER;
  if (tile >= load_int(tile_count, 0)) return ivec4(-1, 0, 0, 0);
  const ivec2 found = load_int2(tiles, tile);
  const ivec2 slots = load_int2(experts, found.x);
  return ivec4(found.x, slots.x + found.y, min(slots.y - found.y, GROUP_M), within / RASTER * GROUP_N);
}
#define ROW_TILE row_tile(group_id(), a.slot_experts, a.tiles, a.tile_count, a.column_tiles)

// The row of a slot's token.
#define TOKEN_ROW(name)                                           \
  uint64_t name##_row(int slot, bool there) {                     \
    if (!there) return 0ul;                                       \
    const int token = load_int(a.row_tokens, slot);               \
    return token < 0 ? 0ul : ROW_AT(name, 0, token);              \
  }
// The number of that token. A slot without one is no row that counts: any will do.
#define TOKEN_OF(slot) uint(max(load_int(a.row_tokens, slot), 0))
#define CHUNKS_OF_ROW(name) uint(a.name##_pitch / CHUNK)

#ifdef KERNEL_moe_backward_project
STORED_ARGUMENTS {
  SLOTS;
  MATRIX_OF(READS, x);
  PROJECTION(READS, weight);
  PROJECTION(READS, bias);
  MATRIX_OF(WRITES, z);
  int hidden;
  int columns;
  int column_tiles;
};
TAKES_ARGUMENTS;

TOKEN_ROW(x)

void main() {
  const ivec4 t = ROW_TILE;
  if (t.x < 0) return;
  const int expert = t.x, slot = t.y, count = t.z, column = t.w;
  const int hidden = a.hidden, columns = a.columns, x_type = a.x_type, weight_type = a.weight_type;
  FIND_ROWS(x_rows, GROUP_M, r, x_row(slot + r, r < count));
  FIND_ROWS(w_rows, GROUP_N, r, column + r < columns ? PROJECTION_AT(weight, expert, column + r) : 0ul);
  uvec4 held_x[HELD_BY_K(GROUP_M)], held_w[HELD_BY_K(GROUP_N)];
  const bool x_aligned = aligned_rows(a.x, a.x_pitch, x_type);
  const bool w_aligned = aligned_rows(a.weight_gate | a.weight_up,
                                      a.weight_gate_expert | a.weight_gate_row | a.weight_up_expert | a.weight_up_row,
                                      weight_type);
  clear_sums();
#define FETCH(k)                                               \
  FETCH_BY_K(held_x, x_rows, GROUP_M, x_type, k, hidden, x_aligned)       \
  FETCH_BY_K(held_w, w_rows, GROUP_N, weight_type, k, hidden, w_aligned)
#define PUT(to)                                                \
  PUT_BY_K(to, held_x, GROUP_M)                                \
  PUT_BY_K((to) + SECOND_OPERAND, held_w, GROUP_N)
  PRODUCT(hidden, FETCH, PUT, multiply_by_k);
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR(r, c) {
      const int row = part * WM + r, of = column + c, valid = columns - of;
      if (row < count && valid > 0) {
        vec4 v = four_at(r, c);
        if (GIVEN(bias_up)) {
          [[unroll]] for (int i = 0; i < 4; i++) {
            if (i < valid) v[i] += load_value(PROJECTION_AT(bias, expert, of + i), 0, a.bias_type);
          }
        }
        store_four(ROW_AT(z, 0, slot + row), of, a.z_type, v, valid);
      }
    }
  }
}
#endif

// Where a work-item's column of chunks of an operand along k starts.
#define COLUMN_BYTES uint64_t((column + COLUMN_ALONG_K(GROUP_N, 0) * CHUNK) * 2)
#define ROW_BYTES uint64_t((row + COLUMN_ALONG_K(GROUP_M, 0) * CHUNK) * 2)

// ---- slots -------------------------------------------------------------------------------------------------------

#define LOW_SCALE 4096.0

#ifdef KERNEL_moe_backward_slots
// z_rows [rows]: where z has a slot's row; none: in the slot's place. weight_sums [column tiles, rows] or none.
STORED_ARGUMENTS {
  SLOTS;
  MATRIX_OF(READS, dy);
  MATRIX_OF(READS, down);
  MATRIX_OF(READS, z);
  READS(z_rows);
  MATRIX_OF(WRITES, dz);
  MATRIX_OF(WRITES, activation);
  MATRIX_OF(WRITES, low);
  WRITES(weight_sums);
  int kind;
  float alpha;
  float limit;
  int hidden;
  int width;
  int gated;
  int column_tiles;
};
TAKES_ARGUMENTS;

TOKEN_ROW(dy)

// Rounding to F16 loses up to 2^-25 of what is smaller than 2^-14, however small: more than it would have lost of
// f(z) itself, where a slot's weight is far below 1. That part is kept too, scaled, and multiplied by itself.
float low_part(float v) {
  precise float rest = v - widen_f16(narrow_f16(v));
  return abs(v) < 6.103515625e-5 ? rest * LOW_SCALE : 0.0;
}

// f(gate, up) and its derivatives: {value, by gate, by up}.
vec3 activation_of(int kind, float alpha, float limit, float g, float u) {
  float gate, slope, factor = u;  // value = gate * factor
  if (kind == SWIGLU) {
    float s = sigmoid_of(g);
    gate = g * s;
    slope = s + gate * sigmoid_of(-g);
  } else if (kind == GEGLU) {
    float cdf = normal_cdf(g);
    gate = g * cdf;
    slope = cdf + g * (exp_of(-0.5 * g * g) * 0.3989422804014327);
  } else if (kind == GEGLU_TANH) {  // (1 + tanh y) / 2 is sigmoid(2 y)
    float y = 1.5957691216057308 * (g + 0.044715 * g * g * g);
    float s = sigmoid_of(y);
    gate = g * s;
    slope = s + gate * sigmoid_of(-y) * (1.5957691216057308 * (1.0 + 0.134145 * g * g));
  } else if (kind == SWIGLU_CLAMPED) {
    float clamped = g > limit ? limit : g;  // NaN stays NaN
    float s = sigmoid_of(alpha * clamped);
    gate = clamped * s;
    slope = g <= limit ? s + alpha * gate * sigmoid_of(-alpha * g) : 0.0;
    factor = (u > limit ? limit : u < -limit ? -limit : u) + 1.0;
    return vec3(gate * factor, slope * factor, abs(u) <= limit ? gate : 0.0);
  } else {
    float positive = u < 0.0 ? 0.0 : u;
    return vec3(positive * positive, 0.0, 2.0 * positive);
  }
  return vec3(gate * factor, slope * factor, gate);
}

void main() {
  const ivec4 t = ROW_TILE;
  if (t.x < 0) return;
  const int expert = t.x, slot = t.y, count = t.z, column = t.w;
  const int hidden = a.hidden, width = a.width, dy_type = a.dy_type;
  const bool gated = a.gated != 0;
#if MATRIX != 0 && TYPE != 0
  if (WHOLE) {
    FIND_CHUNKS(x_chunks, r, TOKEN_OF(slot + min(r, count - 1)) * CHUNKS_OF_ROW(dy));
    const uint64_t dy = a.dy, w = ROW_AT(down, expert, ROW_ALONG_K(GROUP_N, 0)) + COLUMN_BYTES;
    const int64_t step = a.down_pitch * 2;
    uvec4 held_x[HELD_BY_K(GROUP_M)], held_w[HELD_ALONG_K(GROUP_N)];
    clear_sums();
#define FETCH(k)                          \
  FETCH_CHUNKS(held_x, dy, x_chunks, k)   \
  FETCH_LINES(held_w, w + uint64_t((k) * step), step * LINE_STEP(GROUP_N), GROUP_N)
#define PUT(to)                           \
  PUT_BY_K(to, held_x, GROUP_M)           \
  PUT_ALONG_K((to) + SECOND_OPERAND, held_w, GROUP_N)
    PRODUCT(hidden, FETCH, PUT, multiply_mixed);
#undef FETCH
#undef PUT
  } else
#endif
  {
  FIND_ROWS(x_rows, GROUP_M, r, dy_row(slot + r, r < count));
  const Rows w_rows = plain_rows(ROW_AT(down, expert, 0), a.down_pitch, 0ul, 0, hidden, a.down_type);
  uvec4 held_x[HELD_BY_K(GROUP_M)], held_w[HELD_ALONG_K(GROUP_N)];
  const bool x_aligned = aligned_rows(a.dy, a.dy_pitch, dy_type);
  clear_sums();
#define FETCH(k)                                               \
  FETCH_BY_K(held_x, x_rows, GROUP_M, dy_type, k, hidden, x_aligned)      \
  FETCH_ALONG_K(held_w, w_rows, GROUP_N, k, column, width)
#define PUT(to)                                                \
  PUT_BY_K(to, held_x, GROUP_M)                                \
  PUT_ALONG_K((to) + SECOND_OPERAND, held_w, GROUP_N)
  PRODUCT(hidden, FETCH, PUT, multiply_mixed);
  }
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR(r, c) {
      const int row = part * WM + r, of = column + c, valid = width - of;
      const int p = slot + row;
      float sum = 0.0;
      if (row < count && valid > 0) {
        const vec4 v = four_at(r, c);
        const float weight = load_float(a.row_weights, p);
        int z_row = p;
        if (GIVEN(z_rows)) z_row = load_int(a.z_rows, p);
        const uint64_t z = ROW_AT(z, 0, z_row);
        vec4 g = vec4(0.0);
        if (gated) g = load_four(z, of, a.z_type, valid);
        const vec4 u = load_four(z, of + (gated ? width : 0), a.z_type, valid);
        vec4 value, by_gate, by_up;
        for (int i = 0; i < 4; i++) {
          const vec3 f = activation_of(a.kind, a.alpha, a.limit, g[i], u[i]);
          value[i] = f.x;
          by_gate[i] = f.y;
          by_up[i] = f.z;
        }
        // Columns beyond the width hold 0 on both sides.
        sum = value.x * v.x + value.y * v.y + value.z * v.z + value.w * v.w;
        const vec4 da = weight * v;
        if (GIVEN(dz)) {
          const uint64_t dz = ROW_AT(dz, 0, p);
          if (gated) store_four(dz, of, a.dz_type, da * by_gate, valid);
          store_four(dz, of + (gated ? width : 0), a.dz_type, da * by_up, valid);
        }
        if (GIVEN(activation)) {
          const vec4 w = weight * value;
          store_four(ROW_AT(activation, 0, p), of, a.activation_type, w, valid);
          if (GIVEN(low)) {
            const vec4 rest = vec4(low_part(w.x), low_part(w.y), low_part(w.z), low_part(w.w));
            store_four(ROW_AT(low, 0, p), of, a.low_type, rest, valid);
          }
        }
      }
      leave_one(r, c, sum);
    }
    if (GIVEN(weight_sums)) {
      barrier();
      for (int r = local_item(); r < WM; r += GROUP_SIZE) {
        float sum = 0.0;
        for (int c = 0; c < GROUP_N; c += 4) sum += one_at(r, c);
        if (part * WM + r < count) {
          store_float(a.weight_sums, column / GROUP_N * a.rows + slot + part * WM + r, sum);
        }
      }
    }
  }
}
#endif

// ---- inputs ------------------------------------------------------------------------------------------------------

#ifdef KERNEL_moe_backward_inputs
STORED_ARGUMENTS {
  SLOTS;
  MATRIX_OF(READS, dz);
  PROJECTION(READS, weight);
  MATRIX_OF(WRITES, dx);
  int hidden;
  int columns;
  int column_tiles;
};
TAKES_ARGUMENTS;

void main() {
  const ivec4 t = ROW_TILE;
  if (t.x < 0) return;
  const int expert = t.x, slot = t.y, count = t.z, column = t.w;
  const int hidden = a.hidden, columns = a.columns, dz_type = a.dz_type;
#if MATRIX != 0 && TYPE != 0
  if (WHOLE) {
    // Gates end where a stage does.
    FIND_CHUNKS(x_chunks, r, uint(slot + min(r, count - 1)) * CHUNKS_OF_ROW(dz));
    const int line = ROW_ALONG_K(GROUP_N, 0), gates = a.weight_gates;
    const uint64_t dz = a.dz, ups = UP_AT(weight, expert, line) + COLUMN_BYTES;
    const int64_t up_step = a.weight_up_row * 2;
    uint64_t gate_rows = ups;
    int64_t gate_step = up_step;
    if (gates > 0) {
      gate_rows = GATE_AT(weight, expert, line) + COLUMN_BYTES;
      gate_step = a.weight_gate_row * 2;
    }
    uvec4 held_x[HELD_BY_K(GROUP_M)], held_w[HELD_ALONG_K(GROUP_N)];
    clear_sums();
#define FETCH(k)                                                                                       \
  FETCH_CHUNKS(held_x, dz, x_chunks, k)                                                                \
  const bool gate_ = (k) < gates;                                                                      \
  const int64_t step_ = gate_ ? gate_step : up_step;                                                   \
  const uint64_t from_ = gate_ ? gate_rows + uint64_t((k) * step_) : ups + uint64_t(((k) - gates) * step_); \
  FETCH_LINES(held_w, from_, step_ * LINE_STEP(GROUP_N), GROUP_N)
#define PUT(to)                           \
  PUT_BY_K(to, held_x, GROUP_M)           \
  PUT_ALONG_K((to) + SECOND_OPERAND, held_w, GROUP_N)
    PRODUCT(columns, FETCH, PUT, multiply_mixed);
#undef FETCH
#undef PUT
  } else
#endif
  {
  FIND_ROWS(x_rows, GROUP_M, r, r < count ? ROW_AT(dz, 0, slot + r) : 0ul);
  const Rows w_rows = PROJECTION_ROWS(weight, expert, columns);
  uvec4 held_x[HELD_BY_K(GROUP_M)], held_w[HELD_ALONG_K(GROUP_N)];
  const bool x_aligned = aligned_rows(a.dz, a.dz_pitch, dz_type);
  clear_sums();
#define FETCH(k)                                               \
  FETCH_BY_K(held_x, x_rows, GROUP_M, dz_type, k, columns, x_aligned)     \
  FETCH_ALONG_K(held_w, w_rows, GROUP_N, k, column, hidden)
#define PUT(to)                                                \
  PUT_BY_K(to, held_x, GROUP_M)                                \
  PUT_ALONG_K((to) + SECOND_OPERAND, held_w, GROUP_N)
  PRODUCT(columns, FETCH, PUT, multiply_mixed);
  }
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR(r, c) {
      const int row = part * WM + r, valid = hidden - column - c;
      if (row < count && valid > 0) store_four(ROW_AT(dx, 0, slot + row), column + c, a.dx_type, four_at(r, c), valid);
    }
  }
}
#endif

// ---- gradients of weights ----------------------------------------------------------------------------------------

// A tile of an expert's gradient [m, n]: {expert, first row, first column}; neighbouring groups share columns.
ivec3 weight_tile(uint group, int row_tiles, int column_tiles) {
  const uint all = uint(row_tiles * column_tiles);
  const int id = int(group % all);
  const int from = id / (RASTER * column_tiles) * RASTER;
  const int high = min(row_tiles - from, RASTER);
  const int within = id % (RASTER * column_tiles);
  return ivec3(int(group / all), (from + within % high) * GROUP_M, within / high * GROUP_N);
}

void store_gradient(uint64_t row, int of, int type, vec4 v, int valid, bool accumulate) {
  if (accumulate) v += load_four(row, of, type, valid);
  store_four(row, of, type, v, valid);
}

#ifdef KERNEL_moe_backward_down_gradient
STORED_ARGUMENTS {
  SLOTS;
  MATRIX_OF(READS, dy);
  MATRIX_OF(READS, activation);
  MATRIX_OF(READS, low);
  MATRIX_OF(CHANGES, result);
  int hidden;
  int width;
  int row_tiles;
  int column_tiles;
  int accumulate;
};
TAKES_ARGUMENTS;

void main() {
  const ivec3 t = weight_tile(group_id(), a.row_tiles, a.column_tiles);
  const int expert = t.x, row = t.y, column = t.z;
  const int hidden = a.hidden, width = a.width;
  const ivec2 slots = load_int2(a.slot_experts, expert);
#if MATRIX != 0 && TYPE != 0
  if (WHOLE) {
    const uint64_t dy = a.dy + ROW_BYTES;
    const uint dy_pitch = CHUNKS_OF_ROW(dy), w_pitch = CHUNKS_OF_ROW(activation);
    uint64_t w = a.activation + COLUMN_BYTES;
    uvec4 held_x[HELD_ALONG_K(GROUP_M)], held_w[HELD_ALONG_K(GROUP_N)];
    clear_sums();
#define FETCH(k)                                                                                        \
  FETCH_SLOTS(held_x, GROUP_M, k, slots.y, r_, dy + uint64_t(TOKEN_OF(slots.x + r_) * dy_pitch) * 16ul) \
  FETCH_SLOTS(held_w, GROUP_N, k, slots.y, r_, w + uint64_t(uint(slots.x + r_) * w_pitch) * 16ul)
#define PUT(to)                                                \
  PUT_ALONG_K(to, held_x, GROUP_M)                             \
  PUT_ALONG_K((to) + SECOND_OPERAND, held_w, GROUP_N)
#if TYPE == 1
    if (GIVEN(low)) {
      w = a.low + COLUMN_BYTES;
      PRODUCT(slots.y, FETCH, PUT, multiply_along_k);
      scale_sums(1.0 / LOW_SCALE);
      w = a.activation + COLUMN_BYTES;
    }
#endif
    PRODUCT(slots.y, FETCH, PUT, multiply_along_k);
#undef FETCH
#undef PUT
  } else
#endif
  {
  const Rows x_rows = plain_rows(a.dy, a.dy_pitch, a.row_tokens, slots.x, slots.y, a.dy_type);
  Rows w_rows = plain_rows(a.activation, a.activation_pitch, 0ul, slots.x, slots.y, a.activation_type);
  uvec4 held_x[HELD_ALONG_K(GROUP_M)], held_w[HELD_ALONG_K(GROUP_N)];
  clear_sums();
#define FETCH(k)                                               \
  FETCH_ALONG_K(held_x, x_rows, GROUP_M, k, row, hidden)       \
  FETCH_ALONG_K(held_w, w_rows, GROUP_N, k, column, width)
#define PUT(to)                                                \
  PUT_ALONG_K(to, held_x, GROUP_M)                             \
  PUT_ALONG_K((to) + SECOND_OPERAND, held_w, GROUP_N)
#if TYPE == 1
  if (GIVEN(low)) {
    w_rows.place_a = a.low;
    PRODUCT(slots.y, FETCH, PUT, multiply_along_k);
    scale_sums(1.0 / LOW_SCALE);
    w_rows.place_a = a.activation;
  }
#endif
  PRODUCT(slots.y, FETCH, PUT, multiply_along_k);
  }
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR(r, c) {
      const int m = row + part * WM + r, valid = width - column - c;
      if (m < hidden && valid > 0) {
        store_gradient(ROW_AT(result, expert, m), column + c, a.result_type, four_at(r, c), valid, a.accumulate != 0);
      }
    }
  }
}
#endif

#ifdef KERNEL_moe_backward_projection_gradient
// A half of the result that is not given is not written.
STORED_ARGUMENTS {
  SLOTS;
  MATRIX_OF(READS, dz);
  MATRIX_OF(READS, x);
  PROJECTION(CHANGES, result);
  int columns;
  int hidden;
  int row_tiles;
  int column_tiles;
  int accumulate;
};
TAKES_ARGUMENTS;

void main() {
  const ivec3 t = weight_tile(group_id(), a.row_tiles, a.column_tiles);
  const int expert = t.x, row = t.y, column = t.z;
  const int hidden = a.hidden, columns = a.columns;
  const ivec2 slots = load_int2(a.slot_experts, expert);
#if MATRIX != 0 && TYPE != 0
  if (WHOLE) {
    const uint64_t dz = a.dz + ROW_BYTES, x = a.x + COLUMN_BYTES;
    const uint dz_pitch = CHUNKS_OF_ROW(dz), x_pitch = CHUNKS_OF_ROW(x);
    uvec4 held_x[HELD_ALONG_K(GROUP_M)], held_w[HELD_ALONG_K(GROUP_N)];
    clear_sums();
#define FETCH(k)                                                                                      \
  FETCH_SLOTS(held_x, GROUP_M, k, slots.y, r_, dz + uint64_t(uint(slots.x + r_) * dz_pitch) * 16ul) \
  FETCH_SLOTS(held_w, GROUP_N, k, slots.y, r_, x + uint64_t(TOKEN_OF(slots.x + r_) * x_pitch) * 16ul)
#define PUT(to)                                                \
  PUT_ALONG_K(to, held_x, GROUP_M)                             \
  PUT_ALONG_K((to) + SECOND_OPERAND, held_w, GROUP_N)
    PRODUCT(slots.y, FETCH, PUT, multiply_along_k);
#undef FETCH
#undef PUT
  } else
#endif
  {
  const Rows x_rows = plain_rows(a.dz, a.dz_pitch, 0ul, slots.x, slots.y, a.dz_type);
  const Rows w_rows = plain_rows(a.x, a.x_pitch, a.row_tokens, slots.x, slots.y, a.x_type);
  uvec4 held_x[HELD_ALONG_K(GROUP_M)], held_w[HELD_ALONG_K(GROUP_N)];
  clear_sums();
#define FETCH(k)                                               \
  FETCH_ALONG_K(held_x, x_rows, GROUP_M, k, row, columns)      \
  FETCH_ALONG_K(held_w, w_rows, GROUP_N, k, column, hidden)
#define PUT(to)                                                \
  PUT_ALONG_K(to, held_x, GROUP_M)                             \
  PUT_ALONG_K((to) + SECOND_OPERAND, held_w, GROUP_N)
  PRODUCT(slots.y, FETCH, PUT, multiply_along_k);
  }
  for (FINISHED_PARTS(part)) {
    LEAVE_PART(part);
    EACH_FOUR(r, c) {
      const int m = row + part * WM + r, valid = hidden - column - c;
      if (m < columns && valid > 0 && PROJECTION_HAS(result, m)) {
        store_gradient(PROJECTION_AT(result, expert, m), column + c, a.result_type, four_at(r, c), valid,
                       a.accumulate != 0);
      }
    }
  }
}
#endif
