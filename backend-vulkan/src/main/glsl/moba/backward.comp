#version 460
// MoBA backward. Given out, lse and selection as forward wrote them, with
//   P = exp(scale q.k - lse),  delta = rowsum(dout * out),  dS = P * (dout.v - delta)
// over the pairs of query row and key that attention joined:
//   dv = P^T dout,  dk = scale dS^T q,  dq = scale dS k.
//
//   moba_backward_stats   lse * log2(e) and delta of every row (merge.comp)
//   moba_backward_keys    a group takes SIDE keys of a block and meets all their rows: those of the own block, then
//                         those of its list, of all heads of the group. Leaves dk and dv.
//   moba_backward_listed  a group takes SIDE rows of a list and meets the block's keys. Leaves a part of dq, F32, for
//                         each entry of the list.
//   moba_backward_own     the same for neighbouring rows and the keys of their own blocks, causally
//   moba_backward_merge   adds a row's parts in slot order (merge.comp)
//
// S and dP are computed twice, for keys and for rows. In exchange no two groups add to one number, so that results
// repeat bit for bit. Parts are numbered as in attend.comp.
//
// Shared memory holds CW columns of SIDE rows of each of q, dout, k and v, as floats; where CW is less than WIDTH they
// pass chunk by chunk. Constants: WIDTH, CW, SIDE, WAVES; SM x SN, the tile of scores of a wave, of which it has one at
// most; GM x GN, its tile of a gradient, of which it has one for each chunk.
#include "batch.glsl"
#include "backward.glsl"

STORED_ARGUMENTS {
  BACKWARD_ARGUMENTS;
#ifdef KERNEL_moba_backward_keys
  LISTS_ARGUMENTS;
  GRADIENT_ARGUMENTS;
  int shares;
#endif
#ifdef KERNEL_moba_backward_listed
  LISTS_ARGUMENTS;
  PARTS_ARGUMENTS;
  READS(tiles_before);
  READS(list_of_tile);
  int heads;
#endif
#ifdef KERNEL_moba_backward_own
  PARTS_ARGUMENTS;
  int block_count;
  int shares;
#endif
};
TAKES_ARGUMENTS;
#include "lists.glsl"
#include "rows.glsl"

#define SEES_NOTHING (-1)
#define SEES_ALL 0x7fffffff

#define PARTS_OF_WIDTH (WIDTH / CW)
#define CW_CHUNKS (CW / CHUNK)
#define CW_PITCH PITCH(CW)
#define SIDE_PITCH PITCH(SIDE)
#define SCORE_SIDE (SIDE / SM)
#define SCORE_TILES (SCORE_SIDE * (SIDE / SN))
#define GRADIENT_ROWS (SIDE / GM)
#define GRADIENT_TILES (GRADIENT_ROWS * (CW / GN))
#if SCORE_TILES > WAVES || GRADIENT_TILES != WAVES
#error "a wave has one tile"
#endif

shared uint q_tile[SIDE * CW_PITCH];
shared uint dout_tile[SIDE * CW_PITCH];
shared uint k_tile[SIDE * CW_PITCH];
shared uint v_tile[SIDE * CW_PITCH];
shared uint p_tile[SIDE * SIDE_PITCH];
shared uint ds_tile[SIDE * SIDE_PITCH];
shared int64_t row_of[SIDE];
shared vec2 stats_of[SIDE];
shared int reach_of[SIDE];

float s_sum[SM * SN / WAVE];
#define PRODUCT(name) s_##name
#define TILE_M SM
#define TILE_N SN
#define SUMS s_sum
#define A q_tile
#define A_PITCH CW_PITCH
#define B k_tile
#define B_PITCH CW_PITCH
#define FORM 0
#include "product.glsl"

float dp_sum[SM * SN / WAVE];
#define PRODUCT(name) dp_##name
#define TILE_M SM
#define TILE_N SN
#define SUMS dp_sum
#define A dout_tile
#define A_PITCH CW_PITCH
#define B v_tile
#define B_PITCH CW_PITCH
#define FORM 0
#include "product.glsl"

float gradient_sum[PARTS_OF_WIDTH * (GM * GN / WAVE)];
#ifdef KERNEL_moba_backward_keys
float value_sum[PARTS_OF_WIDTH * (GM * GN / WAVE)];
#define PRODUCT(name) value_##name
#define TILE_M GM
#define TILE_N GN
#define SUMS value_sum
#define A p_tile
#define A_PITCH SIDE_PITCH
#define B dout_tile
#define B_PITCH CW_PITCH
#define FORM 2
#include "product.glsl"
#define PRODUCT(name) gradient_##name
#define TILE_M GM
#define TILE_N GN
#define SUMS gradient_sum
#define A ds_tile
#define A_PITCH SIDE_PITCH
#define B q_tile
#define B_PITCH CW_PITCH
#define FORM 2
#include "product.glsl"
#else
shared int64_t part_of[SIDE];
#define PRODUCT(name) gradient_##name
#define TILE_M GM
#define TILE_N GN
#define SUMS gradient_sum
#define A ds_tile
#define A_PITCH SIDE_PITCH
#define B k_tile
#define B_PITCH CW_PITCH
#define FORM 1
#include "product.glsl"
#endif
#define ALL_SUMS (PARTS_OF_WIDTH * gradient_sums)

// What row r of a tile is: its query row token * query_heads + head, or -1; its statistics; the last key it sees.
void set_row(int r, int64_t row, int reach) {
  row_of[r] = row;
  stats_of[r] = vec2(0.0);
  if (row >= 0) stats_of[r] = load_float2(a.stats, row);
  reach_of[r] = row < 0 ? SEES_NOTHING : reach;
}

// Columns of chunk `part` of rows of q and dout.
void load_query_rows(int part, int id) {
  const bool q_aligned = (a.aligned & ALIGNED_Q) != 0, dout_aligned = (a.aligned & ALIGNED_DOUT) != 0;
  for (int i = id; i < SIDE * CW_CHUNKS; i += GROUP) {
    int r = i / CW_CHUNKS, column = i % CW_CHUNKS * CHUNK;
    int64_t row = row_of[r];
    uint64_t q = 0ul, dout = 0ul;
    if (row >= 0) {
      int64_t token = row / a.query_heads, head = row % a.query_heads;
      q = place_in(a.q, token * a.q_token_pitch + head * a.q_head_pitch);
      dout = place_in(a.dout, token * a.dout_token_pitch + head * a.dout_head_pitch);
    }
    uvec4 bits = load_chunk(q, part * CW + column, a.dim, q_aligned);
    PUT_CHUNK(q_tile, r * CW_PITCH + column, bits);
    bits = load_chunk(dout, part * CW + column, a.value_dim, dout_aligned);
    PUT_CHUNK(dout_tile, r * CW_PITCH + column, bits);
  }
}

// The same of keys and values of tokens [from, to).
void load_key_rows(int kv_head, int64_t from, int to, int part, bool with_values, int id) {
  const bool k_aligned = (a.aligned & ALIGNED_K) != 0, v_aligned = (a.aligned & ALIGNED_V) != 0;
  for (int i = id; i < SIDE * CW_CHUNKS; i += GROUP) {
    int r = i / CW_CHUNKS, column = i % CW_CHUNKS * CHUNK;
    uint64_t k = 0ul, v = 0ul;
    if (from + r < to) {
      k = place_in(a.k, kv_head * a.k_head_pitch + (from + r) * a.k_token_pitch);
      v = place_in(a.v, kv_head * a.v_head_pitch + (from + r) * a.v_token_pitch);
    }
    uvec4 bits = load_chunk(k, part * CW + column, a.dim, k_aligned);
    PUT_CHUNK(k_tile, r * CW_PITCH + column, bits);
    if (with_values) {
      bits = load_chunk(v, part * CW + column, a.value_dim, v_aligned);
      PUT_CHUNK(v_tile, r * CW_PITCH + column, bits);
    }
  }
}

// What is left of a width in a chunk, as products go.
int depth_of(int width, int part) { return clamp(padded(width, 16) - part * CW, 0, CW); }

void clear_scores() {
  [[unroll]] for (int e = 0; e < s_sums; e++) {
    s_sum[e] = 0.0;
    dp_sum[e] = 0.0;
  }
}

// s += q k^T and dp += dout v^T over one chunk of columns.
void multiply_scores(int part, int wave) {
  if (wave < SCORE_TILES) {
    int row = wave % SCORE_SIDE * SM, key = wave / SCORE_SIDE * SN;
    s_multiply(0, row * CW_PITCH, key * CW_PITCH, depth_of(a.dim, part));
    dp_multiply(0, row * CW_PITCH, key * CW_PITCH, depth_of(a.value_dim, part));
  }
}

// From s and dp to p and ds, in shared memory as [row][key]; the tile's keys are tokens from first_key on, below end.
void weigh_scores(int first_key, int end, int wave) {
  if (wave < SCORE_TILES) {
    int row = wave % SCORE_SIDE * SM, key = wave / SCORE_SIDE * SN;
    [[unroll]] for (int e = 0; e < s_sums; e++) {
      int r = row + s_row(e), c = key + s_col(e);
      vec2 stats = stats_of[r];
      bool seen = c <= reach_of[r] - first_key && c < end - first_key;
      float p = exp2(s_sum[e] * a.scale_log2 - stats.x);
      p_tile[r * SIDE_PITCH + c] = seen ? floatBitsToUint(p) : 0u;
      ds_tile[r * SIDE_PITCH + c] = seen ? floatBitsToUint(p * (dp_sum[e] - stats.y)) : 0u;
    }
  }
}

#ifdef KERNEL_moba_backward_keys
// Groups: heads of this pass, of each its block numbers, of each `shares` of SIDE keys.
void main() {
  uint item = group_id();
  int share = int(item % uint(a.shares));
  int number = int(item / uint(a.shares) % uint(a.block_count));
  int head = int(item / uint(a.shares) / uint(a.block_count));
  int kv_head = a.first_head + head;
  Block block = load_int4(a.blocks, number);
  int64_t first_key = block.x + int64_t(share) * SIDE;
  if (first_key >= block.y) return;
  int start = int(first_key);
  int id = local_id();
  int wave = id / WAVE;
  const int group = a.group, slots = a.slots;

  uint length = 0u;
  uint64_t entries = 0ul;
  if (slots > 0) {
    int64_t first_of_head = int64_t(a.first_list + head) * a.block_count;
    int64_t list = first_of_head + number;
    length = list_length(a.offsets, list);
    entries = at(a.entries, (a.first_list + head) * a.entries_per_head +
                                int64_t(list_start(a.offsets, list, first_of_head)), 4);
  }
  uint own_rows = uint(block.y - start) * uint(group);
  int64_t own_tiles = (int64_t(own_rows) + SIDE - 1) / SIDE;
  int64_t tiles = own_tiles + (int64_t(length) + SIDE - 1) / SIDE;

  [[unroll]] for (int e = 0; e < ALL_SUMS; e++) {
    gradient_sum[e] = 0.0;
    value_sum[e] = 0.0;
  }
  int key = wave % GRADIENT_ROWS * GM, column = wave / GRADIENT_ROWS * GN;
  if (PARTS_OF_WIDTH == 1) load_key_rows(kv_head, first_key, block.y, 0, true, id);
  for (int64_t tile = 0; tile < tiles; tile++) {
    if (id < SIDE) {
      int64_t row = -1;
      int reach = SEES_ALL;
      if (tile < own_tiles) {
        int64_t index = tile * SIDE + id;
        if (index < own_rows) {
          int token = start + int(uint(index) / uint(group));
          row = int64_t(token) * a.query_heads + int64_t(kv_head) * group + uint(index) % uint(group);
          reach = token;
        }
      } else {
        int64_t where = (tile - own_tiles) * SIDE + id;
        if (where < length) {
          uint index = load_uint(entries, where) / uint(slots);
          row = int64_t(index / uint(group)) * a.query_heads + int64_t(kv_head) * group + index % uint(group);
        }
      }
      set_row(id, row, reach);
    }
    barrier();
    clear_scores();
    for (int part = 0; part < PARTS_OF_WIDTH; part++) {
      if (PARTS_OF_WIDTH > 1) {
        barrier();
        load_key_rows(kv_head, first_key, block.y, part, true, id);
      }
      load_query_rows(part, id);
      barrier();
      multiply_scores(part, wave);
    }
    weigh_scores(start, block.y, wave);
    barrier();
    [[unroll]] for (int part = PARTS_OF_WIDTH - 1; part >= 0; part--) {
      if (part < PARTS_OF_WIDTH - 1) {
        barrier();
        load_query_rows(part, id);
        barrier();
      }
      if (part * CW < a.dim) gradient_multiply(part * gradient_sums, key, column, SIDE);
      if (part * CW < a.value_dim) value_multiply(part * gradient_sums, key, column, SIDE);
    }
    barrier();
  }

  // Gradients leave by way of shared memory, in whole chunks.
  [[unroll]] for (int part = 0; part < PARTS_OF_WIDTH; part++) {
    [[unroll]] for (int e = 0; e < gradient_sums; e++) {
      int where = (key + gradient_row(e)) * CW_PITCH + column + gradient_col(e);
      q_tile[where] = floatBitsToUint(a.scale * gradient_sum[part * gradient_sums + e]);
      dout_tile[where] = floatBitsToUint(value_sum[part * gradient_sums + e]);
    }
    barrier();
    for (int i = id; i < SIDE * CW_CHUNKS; i += GROUP) {
      int r = i / CW_CHUNKS, c = i % CW_CHUNKS * CHUNK, from = r * CW_PITCH + c;
      int64_t token = first_key + r;
      c += part * CW;
      if (token < block.y) {
        if (GIVEN(dk) && c < a.dim) {
          uvec4 bits = uvec4(q_tile[from], q_tile[from + 1], q_tile[from + 2], q_tile[from + 3]);
          store_chunk(place_in(a.dk, token * a.dk_token_pitch + kv_head * a.dk_head_pitch), c, a.dim,
                      (a.aligned & ALIGNED_DK) != 0, bits);
        }
        if (GIVEN(dv) && c < a.value_dim) {
          uvec4 bits = uvec4(dout_tile[from], dout_tile[from + 1], dout_tile[from + 2], dout_tile[from + 3]);
          store_chunk(place_in(a.dv, token * a.dv_token_pitch + kv_head * a.dv_head_pitch), c, a.value_dim,
                      (a.aligned & ALIGNED_DV) != 0, bits);
        }
      }
    }
    barrier();
  }
}
#else

// The rows of the tile meet the keys of tokens [begin, end) and leave parts of dq: row r at part_of[r] * part_pitch.
void meet_keys(int kv_head, int begin, int end, int id) {
  int wave = id / WAVE;
  [[unroll]] for (int e = 0; e < ALL_SUMS; e++) gradient_sum[e] = 0.0;
  int row = wave % GRADIENT_ROWS * GM, column = wave / GRADIENT_ROWS * GN;
  if (PARTS_OF_WIDTH == 1) load_query_rows(0, id);
  for (int64_t from = begin; from < end; from += SIDE) {
    clear_scores();
    for (int part = 0; part < PARTS_OF_WIDTH; part++) {
      if (PARTS_OF_WIDTH > 1) {
        barrier();
        load_query_rows(part, id);
      }
      load_key_rows(kv_head, from, end, part, true, id);
      barrier();
      multiply_scores(part, wave);
    }
    weigh_scores(int(from), end, wave);
    barrier();
    [[unroll]] for (int part = PARTS_OF_WIDTH - 1; part >= 0; part--) {
      if (part < PARTS_OF_WIDTH - 1) {
        barrier();
        load_key_rows(kv_head, from, end, part, false, id);
        barrier();
      }
      if (part * CW < a.dim) gradient_multiply(part * gradient_sums, row * SIDE_PITCH, column, SIDE);
    }
    barrier();
  }
  [[unroll]] for (int part = 0; part < PARTS_OF_WIDTH; part++) {
    [[unroll]] for (int e = 0; e < gradient_sums; e++) {
      int r = row + gradient_row(e), c = part * CW + column + gradient_col(e);
      if (c < a.dim && part_of[r] >= 0) {
        store_float(a.parts, part_of[r] * a.part_pitch + c, gradient_sum[part * gradient_sums + e]);
      }
    }
  }
}
#endif

#define OWN_ROWS SIDE
#include "backward_rows.glsl"
