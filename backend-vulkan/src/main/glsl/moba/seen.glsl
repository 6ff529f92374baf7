// Gradients of own blocks once more, without what their rows do not see. Tiles multiply whole: a pair that the causal
// mask leaves out has weight 0, and 0 times NaN or infinity is NaN, so a row that is not finite spoils the sums of all
// rows that meet its tile. No sum can hide that: spoiled ones are not finite. These kernels look for such, and sum
// them again pair by pair. That is slow, and rare: where what a row sees is not finite, its gradient is NaN as before.
//
//   moba_backward_seen_queries  the part of dq of a row's own block, before moba_backward_merge
//   moba_backward_seen_keys     dk and dv
//
// A work-item has COLUMNS_SEEN columns of a row, and no barrier.
#include "backward.glsl"

#define COLUMNS_SEEN 4

STORED_ARGUMENTS {
  BACKWARD_ARGUMENTS;
#ifdef KERNEL_moba_backward_seen_queries
  PARTS_ARGUMENTS;
#else
  LISTS_ARGUMENTS;
  GRADIENT_ARGUMENTS;
#endif
  READS(homes);
  int heads;
};
TAKES_ARGUMENTS;
#include "lists.glsl"

#define Q_ROW(token, head) ((token) * a.q_token_pitch + (head) * a.q_head_pitch)
#define DOUT_ROW(token, head) ((token) * a.dout_token_pitch + (head) * a.dout_head_pitch)
#define K_ROW(token, head) ((token) * a.k_token_pitch + (head) * a.k_head_pitch)
#define V_ROW(token, head) ((token) * a.v_token_pitch + (head) * a.v_head_pitch)

// Eight columns at a time where rows are aligned: llvmpipe of Mesa 22.3 leaves all loops of a kernel after 65,535 turns in
// all.
float seen_dot(uint64_t x, int64_t x_row, uint64_t y, int64_t y_row, int width, int alignment) {
  float sum = 0.0;
  int c = 0;
  if ((a.aligned & alignment) == alignment) {
    for (; c + 8 <= width; c += 8) {
      Eight p = load_eight(x, x_row + c), r = load_eight(y, y_row + c);
      sum += dot(p.lo, r.lo) + dot(p.hi, r.hi);
    }
  }
  for (; c < width; c++) sum = fma(LOAD(x, x_row + c), LOAD(y, y_row + c), sum);
  return sum;
}

// P (x) and dS (y) of a pair.
vec2 weigh(int64_t token, int64_t head, int64_t key, int kv_head) {
  vec2 stats = load_float2(a.stats, token * a.query_heads + head);
  float score = seen_dot(a.q, Q_ROW(token, head), a.k, K_ROW(key, kv_head), a.dim, ALIGNED_Q | ALIGNED_K);
  float weight = exp2(score * a.scale_log2 - stats.x);
  float slope =
      seen_dot(a.dout, DOUT_ROW(token, head), a.v, V_ROW(key, kv_head), a.value_dim, ALIGNED_DOUT | ALIGNED_V);
  return vec2(weight, weight * (slope - stats.y));
}

#ifdef KERNEL_moba_backward_seen_queries
// Groups for the rows of `heads` key-value heads, numbered as their parts are.
void main() {
  int chunks = (a.dim + COLUMNS_SEEN - 1) / COLUMNS_SEEN;
  int64_t i = global_id();
  int64_t row = quotient(i, chunks);
  int column = int(i - row * chunks) * COLUMNS_SEEN;
  int64_t rows_of_head = int64_t(a.tokens) * a.group;
  if (row >= a.heads * rows_of_head) return;
  int64_t pass_head = quotient(row, rows_of_head);
  int64_t row_of_head = row - pass_head * rows_of_head;
  int kv_head = a.first_head + int(pass_head);
  int64_t token = quotient(row_of_head, a.group);
  Home home = load_int2(a.homes, token);
  if (home.x < 0) return;
  int64_t part = (row * (a.slots + 1) + a.slots) * a.part_pitch + column;
  int count = min(COLUMNS_SEEN, a.dim - column);
  vec4 stored = Floats4(at(a.parts, part, 4)).v;  // rows of parts are padded
  bool finite = true;
  [[unroll]] for (int c = 0; c < COLUMNS_SEEN; c++) finite = finite && (c >= count || is_finite(stored[c]));
  if (finite) return;
  int64_t head = int64_t(kv_head) * a.group + row_of_head - token * a.group;
  vec2 own = load_float2(a.stats, token * a.query_heads + head);
  if (!is_finite(own.x) || !is_finite(own.y)) return;  // it sees what is not finite
  vec4 sums = vec4(0.0);
  for (int64_t key = load_int4(a.blocks, home.x).x; key <= token; key++) {
    float slope = weigh(token, head, key, kv_head).y;
    [[unroll]] for (int c = 0; c < COLUMNS_SEEN; c++) {
      if (c < count) sums[c] = fma(slope, LOAD(a.k, K_ROW(key, kv_head) + column + c), sums[c]);
    }
  }
  for (int c = 0; c < count; c++) store_float(a.parts, part + c, sums[c]);
}
#endif

#ifdef KERNEL_moba_backward_seen_keys
// Groups for the keys of `heads` key-value heads: of each its columns of dk, then those of dv. Columns that are not
// finite are summed again.
void main() {
  int key_chunks = 0, value_chunks = 0;
  if (GIVEN(dk)) key_chunks = (a.dim + COLUMNS_SEEN - 1) / COLUMNS_SEEN;
  if (GIVEN(dv)) value_chunks = (a.value_dim + COLUMNS_SEEN - 1) / COLUMNS_SEEN;
  int chunks = key_chunks + value_chunks;
  int64_t i = global_id();
  int64_t row = quotient(i, chunks);
  int chunk = int(i - row * chunks);
  if (row >= int64_t(a.heads) * a.tokens) return;
  int head = int(quotient(row, a.tokens));
  int kv_head = a.first_head + head;
  int64_t key = row - int64_t(head) * a.tokens;
  Home home = load_int2(a.homes, key);
  if (home.x < 0) return;
  bool is_value = chunk >= key_chunks;
  int column = (is_value ? chunk - key_chunks : chunk) * COLUMNS_SEEN;
  int count = min(COLUMNS_SEEN, (is_value ? a.value_dim : a.dim) - column);
  int64_t target = is_value ? key * a.dv_token_pitch + kv_head * a.dv_head_pitch + column
                            : key * a.dk_token_pitch + kv_head * a.dk_head_pitch + column;
  uint64_t gradient = is_value ? a.dv : a.dk;
  bool finite = true;
  if (count == COLUMNS_SEEN && (a.aligned & (is_value ? ALIGNED_DV : ALIGNED_DK)) != 0) {
    vec4 stored = load_four(gradient, target);
    [[unroll]] for (int c = 0; c < COLUMNS_SEEN; c++) finite = finite && is_finite(stored[c]);
  } else {
    for (int c = 0; c < count; c++) finite = finite && is_finite(LOAD(gradient, target + c));
  }
  if (finite) return;

  Block block = load_int4(a.blocks, home.x);
  int64_t own_rows = (int64_t(block.y) - key) * a.group;
  uint length = 0u;
  uint64_t entries = 0ul;
  if (a.slots > 0) {
    int64_t first_of_head = int64_t(a.first_list + head) * a.block_count;
    int64_t list = first_of_head + home.x;
    length = list_length(a.offsets, list);
    entries = at(a.entries, (a.first_list + head) * a.entries_per_head +
                                int64_t(list_start(a.offsets, list, first_of_head)), 4);
  }
  vec4 sums = vec4(0.0);
  for (int64_t n = 0; n < own_rows + int64_t(length); n++) {
    int64_t index = key * a.group + n;
    if (n >= own_rows) index = int64_t(load_uint(entries, n - own_rows) / uint(a.slots));
    int64_t token = index / a.group;
    int64_t query = int64_t(kv_head) * a.group + index % a.group;
    vec2 pair = weigh(token, query, key, kv_head);
    float factor = is_value ? pair.x : pair.y;
    uint64_t from = is_value ? a.dout : a.q;
    int64_t where = (is_value ? DOUT_ROW(token, query) : Q_ROW(token, query)) + column;
    [[unroll]] for (int c = 0; c < COLUMNS_SEEN; c++) {
      if (c < count) sums[c] = fma(factor, LOAD(from, where + c), sums[c]);
    }
  }
  for (int c = 0; c < count; c++) STORE(gradient, target + c, is_value ? sums[c] : a.scale * sums[c]);
}
#endif
