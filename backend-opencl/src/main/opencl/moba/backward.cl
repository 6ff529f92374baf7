// MoBA backward. Given out, lse and selection as forward wrote them, with
//   P = exp(scale q.k - lse),  delta = rowsum(dout * out),  dS = P * (dout.v - delta)
// over the pairs of query row and key that attention joined:
//   dv = P^T dout,  dk = scale dS^T q,  dq = scale dS k.
//
//   moba_backward_stats   lse * log2(e) and delta of every row (merge.cl)
//   moba_backward_keys    a group takes SIDE keys of a block and meets all their rows: those of the own block, then
//                         those of its list, of all heads of the group. Leaves dk and dv.
//   moba_backward_listed  a group takes SIDE rows of a list and meets the block's keys. Leaves a part of dq, F32, for
//                         each entry of the list.
//   moba_backward_own     the same for neighbouring rows and the keys of their own blocks, causally
//   moba_backward_merge   adds a row's parts in slot order (merge.cl)
//
// S and dP are computed twice, for keys and for rows. In exchange no two groups add to one number, so that results
// repeat bit for bit. Parts are numbered as in attend.cl.
//
// Local memory holds CW columns of SIDE rows of each of q, dout, k and v; where CW is less than WIDTH they pass chunk
// by chunk. Constants: WIDTH, CW, SIDE, WAVES; SM x SN, the tile of scores of a wave; GM x GN, its tile of a gradient,
// of which it has GRADIENTS for each chunk.
#include "backward.clh"

#define TILE_M SM
#define TILE_N SN
#define TILE(name) score_##name
#include "../common/tile.clh"
#define TILE_M GM
#define TILE_N GN
#define TILE(name) gradient_##name
#include "../common/tile.clh"

#define PARTS_OF_WIDTH (WIDTH / CW)
#define CW_CHUNKS (CW / CHUNK)
#define CW_PITCH PITCH(CW)
#define SIDE_PITCH PITCH(SIDE)
#define SCORE_SIDE (SIDE / SM)
#define SCORE_TILES (SCORE_SIDE * (SIDE / SN))
#define GRADIENT_ROWS (SIDE / GM)
#define GRADIENTS (GRADIENT_ROWS * (CW / GN) / WAVES)
#define BACKWARD_LOCALS                                  \
  __local ELEMENT q_tile[SIDE * CW_PITCH] ALIGNED16;     \
  __local ELEMENT dout_tile[SIDE * CW_PITCH] ALIGNED16;  \
  __local ELEMENT k_tile[SIDE * CW_PITCH] ALIGNED16;     \
  __local ELEMENT v_tile[SIDE * CW_PITCH] ALIGNED16;     \
  __local ELEMENT p_tile[SIDE * SIDE_PITCH] ALIGNED16;   \
  __local ELEMENT ds_tile[SIDE * SIDE_PITCH] ALIGNED16;  \
  __local long row_of[SIDE];                             \
  __local float2 stats_of[SIDE];                         \
  __local int reach_of[SIDE]

// Columns of chunk `part` of rows of q or dout.
static inline void load_query_rows(__local ELEMENT *tile, const __global ELEMENT *base, long token_pitch, long head_pitch,
                             const __local long *row_of, int query_heads, int part, int width, int aligned, int id) {
  for (int i = id; i < SIDE * CW_CHUNKS; i += GROUP) {
    int r = i / CW_CHUNKS;
    int column = i % CW_CHUNKS * CHUNK;
    if (part * CW >= width) continue;
    long row = row_of[r];
    const __global ELEMENT *at = row < 0 ? 0 : base + row / query_heads * token_pitch + row % query_heads * head_pitch;
    load_chunk(tile + r * CW_PITCH + column, at, part * CW + column, width, aligned);
  }
}
// The same of keys or values of tokens [from, to).
static inline void load_key_rows(__local ELEMENT *tile, const __global ELEMENT *base, long token_pitch, long from, int to,
                               int part, int width, int aligned, int id) {
  for (int i = id; i < SIDE * CW_CHUNKS; i += GROUP) {
    int r = i / CW_CHUNKS;
    int column = i % CW_CHUNKS * CHUNK;
    if (part * CW >= width) continue;
    load_chunk(tile + r * CW_PITCH + column, from + r < to ? base + (from + r) * token_pitch : 0, part * CW + column,
               width, aligned);
  }
}
#define LOAD_Q(part) \
  load_query_rows(q_tile, ELEMENTS_AT(q), q_token_pitch, q_head_pitch, row_of, query_heads, part, dim, aligned & ALIGNED_Q, id)
#define LOAD_DOUT(part)                                                                                           \
  load_query_rows(dout_tile, ELEMENTS_AT(dout), dout_token_pitch, dout_head_pitch, row_of, query_heads, part, value_dim, \
            aligned & ALIGNED_DOUT, id)
#define LOAD_K(part, from, to)                                                                                    \
  load_key_rows(k_tile, ELEMENTS_AT(k) + kv_head * k_head_pitch, k_token_pitch, from, to, part, dim, aligned & ALIGNED_K, \
              id)
#define LOAD_V(part, from, to)                                                                                \
  load_key_rows(v_tile, ELEMENTS_AT(v) + kv_head * v_head_pitch, v_token_pitch, from, to, part, value_dim,      \
              aligned & ALIGNED_V, id)

// What is left of a width in a chunk, as products go.
static inline int depth_of(int width, int part) { return clamp(padded(width, 16) - part * CW, 0, CW); }

// Tiles of scores of a wave, and whether it has the n-th of them.
#define SCORES_EACH ((SCORE_TILES + WAVES - 1) / WAVES)
#define SCORE_SUMS (SCORES_EACH * score_sums)
#define HAS_SCORES(n) (SCORE_TILES % WAVES == 0 || wave + (n) * WAVES < SCORE_TILES)

// s += q k^T and dp += dout v^T over one chunk of columns.
static inline void multiply_scores(float *s, float *dp, const __local ELEMENT *q_tile, const __local ELEMENT *k_tile,
                                   const __local ELEMENT *dout_tile, const __local ELEMENT *v_tile, int depth,
                                   int value_depth, int wave, int lane) {
  UNROLL
  for (int n = 0; n < SCORES_EACH; n++) {
    int row = (wave + n * WAVES) % SCORE_SIDE * SM;
    int key = (wave + n * WAVES) / SCORE_SIDE * SN;
    if (HAS_SCORES(n)) {
      score_multiply(s + n * score_sums, q_tile + row * CW_PITCH, CW_PITCH, k_tile + key * CW_PITCH, CW_PITCH, depth,
                     lane);
      score_multiply(dp + n * score_sums, dout_tile + row * CW_PITCH, CW_PITCH, v_tile + key * CW_PITCH, CW_PITCH,
                     value_depth, lane);
    }
  }
}

// From s and dp to p and ds, in local memory as [row][key]; the tile's keys are tokens from first_key on, below end.
static inline void weigh_scores(const float *s, const float *dp, __local ELEMENT *p_tile, __local ELEMENT *ds_tile,
                                const __local float2 *stats_of, const __local int *reach_of, int first_key, int end,
                                float scale_log2, int wave, int lane) {
  UNROLL
  for (int n = 0; n < SCORES_EACH; n++) {
    int row = (wave + n * WAVES) % SCORE_SIDE * SM;
    int key = (wave + n * WAVES) / SCORE_SIDE * SN;
    if (HAS_SCORES(n)) {
      UNROLL
      for (int e = 0; e < score_sums; e++) {
        int r = row + score_row(e, lane);
        int c = key + score_col(e, lane);
        float2 stats = stats_of[r];
        bool seen = first_key + c <= reach_of[r] && first_key + c < end;
        float p = exp2(s[n * score_sums + e] * scale_log2 - stats.x);
        p_tile[r * SIDE_PITCH + c] = element_of(seen ? p : 0.0f);
        ds_tile[r * SIDE_PITCH + c] = element_of(seen ? p * (dp[n * score_sums + e] - stats.y) : 0.0f);
      }
    }
  }
}

// Groups: heads of this pass, of each its block numbers, of each `shares` of SIDE keys.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moba_backward_keys(
    BACKWARD_PARAMETERS, LISTS_PARAMETERS, WRITES(dk), const long dk_token_pitch, const long dk_head_pitch, WRITES(dv),
    const long dv_token_pitch, const long dv_head_pitch, const int shares) {
  BACKWARD_LOCALS;
  long item = get_group_id(0);
  int share = (int)(item % shares);
  int number = (int)(item / shares % block_count);
  int head = (int)(item / shares / block_count);
  int kv_head = first_head + head;
  Block block = CONST_AT(Block, blocks)[number];
  long first_key = block.x + (long)share * SIDE;
  if (first_key >= block.y) return;
  int start = (int)first_key;
  int id = (int)get_local_id(0);
  int wave = id / WAVE;
  int lane = id % WAVE;

  uint length = 0;
  const __global uint *entry_of = 0;
  if (slots > 0) {
    const __global uint *offset_of = CONST_AT(uint, offsets);
    long list = (long)(first_list + head) * block_count + number;
    length = list_length(offset_of, list);
    entry_of = CONST_AT(uint, entries) + (first_list + head) * entries_per_head +
               list_start(offset_of, list, (long)(first_list + head) * block_count);
  }
  uint own_rows = (uint)(block.y - start) * (uint)group;
  long own_tiles = ((long)own_rows + SIDE - 1) / SIDE;
  long tiles = own_tiles + ((long)length + SIDE - 1) / SIDE;

  float key_sums[PARTS_OF_WIDTH * GRADIENTS * gradient_sums];
  float value_sums[PARTS_OF_WIDTH * GRADIENTS * gradient_sums];
  ZERO_SUMS(key_sums, PARTS_OF_WIDTH * GRADIENTS * gradient_sums);
  ZERO_SUMS(value_sums, PARTS_OF_WIDTH * GRADIENTS * gradient_sums);
  if (PARTS_OF_WIDTH == 1) {
    LOAD_K(0, first_key, block.y);
    LOAD_V(0, first_key, block.y);
  }
  for (long tile = 0; tile < tiles; tile++) {
    if (id < SIDE) {
      long row = -1;
      int reach = SEES_ALL;
      if (tile < own_tiles) {
        long index = tile * SIDE + id;
        if (index < own_rows) {
          int token = start + (int)((uint)index / (uint)group);
          row = (long)token * query_heads + (long)kv_head * group + (uint)index % (uint)group;
          reach = token;
        }
      } else {
        long at = (tile - own_tiles) * SIDE + id;
        if (at < length) {
          uint index = entry_of[at] / (uint)slots;
          row = (long)(index / (uint)group) * query_heads + (long)kv_head * group + index % (uint)group;
        }
      }
      SET_ROW(id, row, reach);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    float s[SCORE_SUMS];
    float dp[SCORE_SUMS];
    ZERO_SUMS(s, SCORE_SUMS);
    ZERO_SUMS(dp, SCORE_SUMS);
    for (int part = 0; part < PARTS_OF_WIDTH; part++) {
      if (PARTS_OF_WIDTH > 1) {
        barrier(CLK_LOCAL_MEM_FENCE);
        LOAD_K(part, first_key, block.y);
        LOAD_V(part, first_key, block.y);
      }
      LOAD_Q(part);
      LOAD_DOUT(part);
      barrier(CLK_LOCAL_MEM_FENCE);
      multiply_scores(s, dp, q_tile, k_tile, dout_tile, v_tile, depth_of(dim, part), depth_of(value_dim, part), wave,
                      lane);
    }
    weigh_scores(s, dp, p_tile, ds_tile, stats_of, reach_of, start, block.y, scale_log2, wave, lane);
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL
    for (int part = PARTS_OF_WIDTH - 1; part >= 0; part--) {
      if (part < PARTS_OF_WIDTH - 1) {
        barrier(CLK_LOCAL_MEM_FENCE);
        LOAD_Q(part);
        LOAD_DOUT(part);
        barrier(CLK_LOCAL_MEM_FENCE);
      }
      UNROLL
      for (int n = 0; n < GRADIENTS; n++) {
        int key = (wave + n * WAVES) % GRADIENT_ROWS * GM;
        int column = (wave + n * WAVES) / GRADIENT_ROWS * GN;
        if (part * CW < dim) {
          gradient_multiply_km(key_sums + (part * GRADIENTS + n) * gradient_sums, ds_tile + key, SIDE_PITCH,
                               q_tile + column, CW_PITCH, SIDE, lane);
        }
        if (part * CW < value_dim) {
          gradient_multiply_km(value_sums + (part * GRADIENTS + n) * gradient_sums, p_tile + key, SIDE_PITCH,
                               dout_tile + column, CW_PITCH, SIDE, lane);
        }
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }

  UNROLL
  for (int n = 0; n < PARTS_OF_WIDTH * GRADIENTS; n++) {
    int at = wave + n % GRADIENTS * WAVES;
    int key = at % GRADIENT_ROWS * GM;
    int column = n / GRADIENTS * CW + at / GRADIENT_ROWS * GN;
    UNROLL
    for (int e = 0; e < gradient_sums; e++) {
      long token = first_key + key + gradient_row(e, lane);
      int c = column + gradient_col(e, lane);
      if (token >= block.y) continue;
      if (GIVEN(dk) && c < dim) {
        STORE(PLACE(dk), token * dk_token_pitch + kv_head * dk_head_pitch + c, scale * key_sums[n * gradient_sums + e]);
      }
      if (GIVEN(dv) && c < value_dim) {
        STORE(PLACE(dv), token * dv_token_pitch + kv_head * dv_head_pitch + c, value_sums[n * gradient_sums + e]);
      }
    }
  }
  END_OF_GROUP;
}

// The rows of the tile meet the keys of tokens [begin, end) and leave parts of dq: row r at part_of[r] * part_pitch.
#define MEET_KEYS(begin, end)                                                                                   \
  do {                                                                                                          \
    float sums[PARTS_OF_WIDTH * GRADIENTS * gradient_sums];                                                     \
    ZERO_SUMS(sums, PARTS_OF_WIDTH * GRADIENTS * gradient_sums);                                                \
    if (PARTS_OF_WIDTH == 1) {                                                                                  \
      LOAD_Q(0);                                                                                                \
      LOAD_DOUT(0);                                                                                             \
    }                                                                                                           \
    for (long from = (begin); from < (end); from += SIDE) {                                                     \
      float s[SCORE_SUMS];                                                                                      \
      float dp[SCORE_SUMS];                                                                                     \
      ZERO_SUMS(s, SCORE_SUMS);                                                                                 \
      ZERO_SUMS(dp, SCORE_SUMS);                                                                                \
      for (int part = 0; part < PARTS_OF_WIDTH; part++) {                                                       \
        if (PARTS_OF_WIDTH > 1) {                                                                               \
          barrier(CLK_LOCAL_MEM_FENCE);                                                                         \
          LOAD_Q(part);                                                                                         \
          LOAD_DOUT(part);                                                                                      \
        }                                                                                                       \
        LOAD_K(part, from, end);                                                                                \
        LOAD_V(part, from, end);                                                                                \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                           \
        multiply_scores(s, dp, q_tile, k_tile, dout_tile, v_tile, depth_of(dim, part), depth_of(value_dim, part), \
                        wave, lane);                                                                            \
      }                                                                                                         \
      weigh_scores(s, dp, p_tile, ds_tile, stats_of, reach_of, (int)from, end, scale_log2, wave, lane);         \
      barrier(CLK_LOCAL_MEM_FENCE);                                                                             \
      for (int part = PARTS_OF_WIDTH - 1; part >= 0; part--) {                                                  \
        if (part < PARTS_OF_WIDTH - 1) {                                                                        \
          barrier(CLK_LOCAL_MEM_FENCE);                                                                         \
          LOAD_K(part, from, end);                                                                              \
          barrier(CLK_LOCAL_MEM_FENCE);                                                                         \
        }                                                                                                       \
        for (int n = 0; n < GRADIENTS; n++) {                                                                   \
          int row = (wave + n * WAVES) % GRADIENT_ROWS * GM;                                                    \
          int column = (wave + n * WAVES) / GRADIENT_ROWS * GN;                                                 \
          if (part * CW < dim) {                                                                       \
            gradient_multiply_kn(sums + (part * GRADIENTS + n) * gradient_sums, ds_tile + row * SIDE_PITCH,     \
                                 SIDE_PITCH, k_tile + column, CW_PITCH, SIDE, lane);                            \
          }                                                                                                     \
        }                                                                                                       \
      }                                                                                                         \
      barrier(CLK_LOCAL_MEM_FENCE);                                                                             \
    }                                                                                                           \
    for (int n = 0; n < PARTS_OF_WIDTH * GRADIENTS; n++) {                                                      \
      int at = wave + n % GRADIENTS * WAVES;                                                                    \
      int row = at % GRADIENT_ROWS * GM;                                                                        \
      int column = n / GRADIENTS * CW + at / GRADIENT_ROWS * GN;                                                \
      for (int e = 0; e < gradient_sums; e++) {                                                                 \
        int r = row + gradient_row(e, lane);                                                                    \
        int c = column + gradient_col(e, lane);                                                                 \
        if (c < dim && part_of[r] >= 0) {                                                                       \
          AT(float, parts)[part_of[r] * part_pitch + c] = sums[n * gradient_sums + e];                          \
        }                                                                                                       \
      }                                                                                                         \
    }                                                                                                           \
  } while (0)

#define ROW_LOCALS BACKWARD_LOCALS
#define TILE_ROWS SIDE
#include "backward_rows.clh"
