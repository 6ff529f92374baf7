// MoBA backward (backward.cl, which has the mathematics and says what comes in and out) for F16 and BF16 on NVIDIA's
// matrix units (MATRIX 1, mma.clh), rows of up to 128 columns: what a wave computes stays in its registers.
//
// Keys: a wave owns 16 BLOCKS_K keys, whose k and v stay in local memory, and computes the transposes of S and dP: as
// sums they are, rounded, the operands P^T and dS^T of the products that follow. Rows of q and dout stream by, STREAM
// at a time in two stages; what the rows of the tile after next are is looked up ahead. Rows: a wave owns 32 of them,
// and keys stream by, STREAM_KEYS at a time. Constants: WIDTH (64 or 128), BLOCKS_K, WAVES 4.
#include "backward.clh"

#include "../common/copy.clh"

#define COLUMN_BLOCKS (WIDTH / 16)
#define ROWS_AT_ONCE (GROUP / CHUNKS)

// Begins to copy a row's chunk of columns, zeros beyond its width; `row` null: zeros.
static inline void fetch_chunk(__local ELEMENT *to, const __global ELEMENT *anywhere, const __global ELEMENT *row,
                               int column, int width, int aligned) {
  copy_chunk(to, row ? row + column : anywhere, row ? clamp(width - column, 0, CHUNK) : 0, aligned);
}

// Rows of q and dout: row r is row_of[r], or absent.
static inline void fetch_rows(__local ELEMENT *q_tile, __local ELEMENT *dout_tile, const __local long *row_of, int count,
                              const __global ELEMENT *q_p, long q_token_pitch, long q_head_pitch,
                              const __global ELEMENT *dout_p, long dout_token_pitch, long dout_head_pitch,
                              int query_heads, int dim, int value_dim, int aligned, int id) {
  int column = id % CHUNKS * CHUNK;
#pragma unroll 4
  for (int i = 0; i < count; i += ROWS_AT_ONCE) {
    int r = id / CHUNKS + i;
    long row = row_of[r];
    uint token = (uint)((ulong)max(row, 0L) / (uint)query_heads);
    uint head = (uint)((ulong)max(row, 0L) - (ulong)token * (uint)query_heads);
    fetch_chunk(q_tile + r * ROW_PITCH + column, q_p,
                row < 0 ? 0 : q_p + token * q_token_pitch + head * q_head_pitch, column, dim, aligned & ALIGNED_Q);
    fetch_chunk(dout_tile + r * ROW_PITCH + column, dout_p,
                row < 0 ? 0 : dout_p + token * dout_token_pitch + head * dout_head_pitch, column, value_dim,
                aligned & ALIGNED_DOUT);
  }
}

// Keys and values of tokens [from, to), `count` of them.
static inline void fetch_tokens(__local ELEMENT *k_tile, __local ELEMENT *v_tile, int count, const __global ELEMENT *k_p,
                                long k_token_pitch, const __global ELEMENT *v_p, long v_token_pitch, long from, int to,
                                int dim, int value_dim, int aligned, int id) {
  int column = id % CHUNKS * CHUNK;
#pragma unroll 4
  for (int i = 0; i < count; i += ROWS_AT_ONCE) {
    int r = id / CHUNKS + i;
    bool live = from + r < to;
    fetch_chunk(k_tile + r * ROW_PITCH + column, k_p, live ? k_p + (from + r) * k_token_pitch : 0, column, dim,
                aligned & ALIGNED_K);
    fetch_chunk(v_tile + r * ROW_PITCH + column, v_p, live ? v_p + (from + r) * v_token_pitch : 0, column, value_dim,
                aligned & ALIGNED_V);
  }
}

// ---- keys ------------------------------------------------------------------------------------------------------

#define STREAM 32
#define STREAM_BLOCKS (STREAM / 16)
#define KEY_ROWS (16 * BLOCKS_K)
#define KEYS_OF_GROUP (KEY_ROWS * WAVES)
#define STREAM_ELEMENTS (STREAM * ROW_PITCH)

// Row `index` of all that a group of keys meets: the own ones, then the list's; as token * query_heads + head, or -1.
static inline long met_row(long index, long own_padded, uint own_rows, uint length, const __global uint *entry_of,
                           int start, int kv_head, int query_heads, int group, int slots) {
  if (index < own_padded) {
    if (index >= own_rows) return -1;
    uint token = (uint)index / (uint)group;
    return (long)(start + (int)token) * query_heads + (long)kv_head * group + ((uint)index - token * (uint)group);
  }
  if (index - own_padded >= length) return -1;
  uint row = entry_of[index - own_padded] / (uint)slots;
  uint token = row / (uint)group;
  return (long)token * query_heads + (long)kv_head * group + (row - token * (uint)group);
}

#define MET_ROW(tile) \
  met_row((long)(tile) * STREAM + id, own_padded, own_rows, length, entry_of, start, kv_head, query_heads, group, slots)
#define REACH(tile, row) ((row) < 0 ? SEES_NOTHING : (tile) < own_tiles ? (int)((row) / query_heads) : SEES_ALL)
#define FETCH_MET(stage)                                                                                            \
  fetch_rows(streamed + (stage) * 2 * STREAM_ELEMENTS, streamed + ((stage) * 2 + 1) * STREAM_ELEMENTS,               \
             row_of + (stage) * STREAM, STREAM, ELEMENTS_AT(q), q_token_pitch, q_head_pitch, ELEMENTS_AT(dout),      \
             dout_token_pitch, dout_head_pitch, query_heads, dim, value_dim, aligned, id)

// A wave's sums, rounded, leave by way of its own rows of a tile of local memory.
static inline void store_keys(__local ELEMENT *tile, const float *sums, float factor, __global ELEMENT *to,
                              long token_pitch, long first_key, int end, int width, int aligned, int wave, int lane) {
  __local ELEMENT *own = tile + wave * KEY_ROWS * ROW_PITCH;
#pragma unroll
  for (int i = 0; i < BLOCKS_K; i++) {
#pragma unroll
    for (int c = 0; c < COLUMN_BLOCKS; c++) {
      const float *block = sums + (i * COLUMN_BLOCKS + c) * BLOCK_SUMS;
#pragma unroll
      for (int e = 0; e < BLOCK_SUMS; e += 2) {
        *(__local uint *)(own + (i * 16 + block_row(e, lane)) * ROW_PITCH + c * 16 + block_col(e, lane)) =
            pack(block[e] * factor, block[e + 1] * factor);
      }
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  if (to == 0) return;
  for (int i = lane; i < KEY_ROWS * CHUNKS; i += WAVE) {
    int row = wave * KEY_ROWS + i / CHUNKS;
    int column = i % CHUNKS * CHUNK;
    if (first_key + row >= end || column >= width) continue;
    __global ELEMENT *target = to + (first_key + row) * token_pitch + column;
    const __local ELEMENT *source = tile + row * ROW_PITCH + column;
    if (aligned && column + CHUNK <= width) {
      *(__global uint4 *)target = *(const __local uint4 *)source;
    } else {
      for (int c = 0; c < CHUNK && column + c < width; c++) target[c] = source[c];
    }
  }
}

// Groups: heads of this pass, of each its block numbers, of each `shares` of KEYS_OF_GROUP keys.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moba_backward_keys(
    BACKWARD_PARAMETERS, LISTS_PARAMETERS, WRITES(dk), const long dk_token_pitch, const long dk_head_pitch, WRITES(dv),
    const long dv_token_pitch, const long dv_head_pitch, const int shares) {
  __local ELEMENT k_tile[KEYS_OF_GROUP * ROW_PITCH] ALIGNED16;
  __local ELEMENT v_tile[KEYS_OF_GROUP * ROW_PITCH] ALIGNED16;
  __local ELEMENT streamed[4 * STREAM_ELEMENTS] ALIGNED16;  // two stages of q and dout
  __local long row_of[2 * STREAM];
  __local float2 stats_of[2 * STREAM];
  __local int reach_of[2 * STREAM];
  long item = get_group_id(0);
  int share = (int)(item % shares);
  int number = (int)(item / shares % block_count);
  int head = (int)(item / shares / block_count);
  int kv_head = first_head + head;
  Block block = CONST_AT(Block, blocks)[number];
  long first_key = block.x + (long)share * KEYS_OF_GROUP;
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
  int own_tiles = (int)(((long)own_rows + STREAM - 1) / STREAM);
  long own_padded = (long)own_tiles * STREAM;
  int tiles = own_tiles + (int)(((long)length + STREAM - 1) / STREAM);
  const __global float2 *stats_p = CONST_AT(float2, stats);

  if (id < STREAM) {
    long row = MET_ROW(0);
    row_of[id] = row;
    stats_of[id] = row < 0 ? (float2)(0, 0) : stats_p[row];
    reach_of[id] = REACH(0, row);
    row_of[STREAM + id] = MET_ROW(1);
  }
  fetch_tokens(k_tile, v_tile, KEYS_OF_GROUP, ELEMENTS_AT(k) + kv_head * k_head_pitch, k_token_pitch,
               ELEMENTS_AT(v) + kv_head * v_head_pitch, v_token_pitch, first_key, block.y, dim, value_dim, aligned, id);
  barrier(CLK_LOCAL_MEM_FENCE);
  FETCH_MET(0);
  COMMIT_COPIES();

  const __local ELEMENT *own_k = k_tile + wave * KEY_ROWS * ROW_PITCH;
  const __local ELEMENT *own_v = v_tile + wave * KEY_ROWS * ROW_PITCH;
  float key_sums[BLOCKS_K * COLUMN_BLOCKS * BLOCK_SUMS];
  float value_sums[BLOCKS_K * COLUMN_BLOCKS * BLOCK_SUMS];
  ZERO_SUMS(key_sums, BLOCKS_K * COLUMN_BLOCKS * BLOCK_SUMS);
  ZERO_SUMS(value_sums, BLOCKS_K * COLUMN_BLOCKS * BLOCK_SUMS);
  for (int tile = 0; tile < tiles; tile++) {
    int stage = tile & 1;
    WAIT_FOR_COPIES(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    long next_row = -1;
    long row_after = -1;
    float2 next_stats = (float2)(0, 0);
    if (tile + 1 < tiles) {
      FETCH_MET(stage ^ 1);
      if (id < STREAM) {
        next_row = row_of[(stage ^ 1) * STREAM + id];
        if (next_row >= 0) next_stats = stats_p[next_row];
        row_after = MET_ROW(tile + 2);
      }
    }
    COMMIT_COPIES();
    const __local ELEMENT *q_tile = streamed + stage * 2 * STREAM_ELEMENTS;
    const __local ELEMENT *dout_tile = q_tile + STREAM_ELEMENTS;

    float s[BLOCKS_K * STREAM_BLOCKS * BLOCK_SUMS];
    float ds[BLOCKS_K * STREAM_BLOCKS * BLOCK_SUMS];
    ZERO_SUMS(s, BLOCKS_K * STREAM_BLOCKS * BLOCK_SUMS);
    ZERO_SUMS(ds, BLOCKS_K * STREAM_BLOCKS * BLOCK_SUMS);
#pragma unroll
    for (int c = 0; c < WIDTH; c += 16) {
      FRAGMENT a[BLOCKS_K];
#pragma unroll
      for (int i = 0; i < BLOCKS_K; i++) a[i] = load_a(own_k + i * 16 * ROW_PITCH + c, ROW_PITCH, lane);
#pragma unroll
      for (int j = 0; j < STREAM_BLOCKS; j++) {
        FRAGMENT b = load_b(q_tile + j * 16 * ROW_PITCH + c, ROW_PITCH, lane);
#pragma unroll
        for (int i = 0; i < BLOCKS_K; i++) multiply_block(s + (i * STREAM_BLOCKS + j) * BLOCK_SUMS, a[i], b);
      }
#pragma unroll
      for (int i = 0; i < BLOCKS_K; i++) a[i] = load_a(own_v + i * 16 * ROW_PITCH + c, ROW_PITCH, lane);
#pragma unroll
      for (int j = 0; j < STREAM_BLOCKS; j++) {
        FRAGMENT b = load_b(dout_tile + j * 16 * ROW_PITCH + c, ROW_PITCH, lane);
#pragma unroll
        for (int i = 0; i < BLOCKS_K; i++) multiply_block(ds + (i * STREAM_BLOCKS + j) * BLOCK_SUMS, a[i], b);
      }
    }
    bool is_whole = tile >= own_tiles && tile < tiles - 1;
#pragma unroll
    for (int e = 0; e < BLOCKS_K * STREAM_BLOCKS * BLOCK_SUMS; e++) {
      int r = e / BLOCK_SUMS % STREAM_BLOCKS * 16 + block_col(e % BLOCK_SUMS, lane);
      float2 stats = stats_of[stage * STREAM + r];
      float p = exp2_fast(s[e] * scale_log2 - stats.x);
      if (!is_whole) {
        int key = start + wave * KEY_ROWS + e / (STREAM_BLOCKS * BLOCK_SUMS) * 16 + block_row(e % BLOCK_SUMS, lane);
        bool seen = key <= reach_of[stage * STREAM + r];
        s[e] = seen ? p : 0.0f;
        ds[e] = seen ? p * (ds[e] - stats.y) : 0.0f;
      } else {
        s[e] = p;
        ds[e] = p * (ds[e] - stats.y);
      }
    }
#pragma unroll
    for (int j = 0; j < STREAM_BLOCKS; j++) {
      FRAGMENT p[BLOCKS_K];
      FRAGMENT d[BLOCKS_K];
#pragma unroll
      for (int i = 0; i < BLOCKS_K; i++) {
        p[i] = fragment_of(s + (i * STREAM_BLOCKS + j) * BLOCK_SUMS);
        d[i] = fragment_of(ds + (i * STREAM_BLOCKS + j) * BLOCK_SUMS);
      }
#pragma unroll
      for (int c = 0; c < COLUMN_BLOCKS; c++) {
        FRAGMENT b = load_b_kn(dout_tile + j * 16 * ROW_PITCH + c * 16, ROW_PITCH, lane);
#pragma unroll
        for (int i = 0; i < BLOCKS_K; i++) multiply_block(value_sums + (i * COLUMN_BLOCKS + c) * BLOCK_SUMS, p[i], b);
        b = load_b_kn(q_tile + j * 16 * ROW_PITCH + c * 16, ROW_PITCH, lane);
#pragma unroll
        for (int i = 0; i < BLOCKS_K; i++) multiply_block(key_sums + (i * COLUMN_BLOCKS + c) * BLOCK_SUMS, d[i], b);
      }
    }
    if (id < STREAM) {
      row_of[stage * STREAM + id] = row_after;
      stats_of[(stage ^ 1) * STREAM + id] = next_stats;
      reach_of[(stage ^ 1) * STREAM + id] = REACH(tile + 1, next_row);
    }
  }
  WAIT_FOR_COPIES(0);
  barrier(CLK_LOCAL_MEM_FENCE);
  store_keys(k_tile, key_sums, scale, GIVEN(dk) ? AT(ELEMENT, dk) + kv_head * dk_head_pitch : 0, dk_token_pitch,
             first_key, block.y, dim, aligned & ALIGNED_DK, wave, lane);
  store_keys(v_tile, value_sums, 1, GIVEN(dv) ? AT(ELEMENT, dv) + kv_head * dv_head_pitch : 0, dv_token_pitch, first_key,
             block.y, value_dim, aligned & ALIGNED_DV, wave, lane);
}

// ---- rows ------------------------------------------------------------------------------------------------------

#define TILE_ROWS (32 * WAVES)
#define BLOCKS_M 2
#define STREAM_KEYS 16
#define KEY_ELEMENTS (STREAM_KEYS * ROW_PITCH)

#define ROW_LOCALS                                              \
  __local ELEMENT q_tile[TILE_ROWS * ROW_PITCH] ALIGNED16;      \
  __local ELEMENT dout_tile[TILE_ROWS * ROW_PITCH] ALIGNED16;   \
  __local ELEMENT streamed[4 * KEY_ELEMENTS] ALIGNED16;         \
  __local long row_of[TILE_ROWS];                               \
  __local float2 stats_of[TILE_ROWS];                           \
  __local int reach_of[TILE_ROWS]

#define FETCH_KEYS(stage, at, end)                                                                                \
  fetch_tokens(streamed + (stage) * 2 * KEY_ELEMENTS, streamed + ((stage) * 2 + 1) * KEY_ELEMENTS, STREAM_KEYS,   \
               ELEMENTS_AT(k) + kv_head * k_head_pitch, k_token_pitch, ELEMENTS_AT(v) + kv_head * v_head_pitch,    \
               v_token_pitch, at, end, dim, value_dim, aligned, id)

// Rows of the tile meet the keys of tokens [begin, end): sums += dS k, of which a wave's lane has what mma.clh says.
static inline __attribute__((always_inline)) void meet_tile(float *sums, const __local ELEMENT *own_q,
                                                            const __local ELEMENT *own_dout,
                                                            const __local ELEMENT *keys, const __local ELEMENT *values,
                                                            const float2 *stats, const int *reach, int from, int end,
                                                            float scale_log2, bool is_masked, int lane) {
  float s[BLOCKS_M * BLOCK_SUMS];
  float ds[BLOCKS_M * BLOCK_SUMS];
  ZERO_SUMS(s, BLOCKS_M * BLOCK_SUMS);
  ZERO_SUMS(ds, BLOCKS_M * BLOCK_SUMS);
#pragma unroll
  for (int c = 0; c < WIDTH; c += 16) {
    FRAGMENT b = load_b(keys + c, ROW_PITCH, lane);
#pragma unroll
    for (int i = 0; i < BLOCKS_M; i++) {
      multiply_block(s + i * BLOCK_SUMS, load_a(own_q + i * 16 * ROW_PITCH + c, ROW_PITCH, lane), b);
    }
    b = load_b(values + c, ROW_PITCH, lane);
#pragma unroll
    for (int i = 0; i < BLOCKS_M; i++) {
      multiply_block(ds + i * BLOCK_SUMS, load_a(own_dout + i * 16 * ROW_PITCH + c, ROW_PITCH, lane), b);
    }
  }
#pragma unroll
  for (int e = 0; e < BLOCKS_M * BLOCK_SUMS; e++) {
    int i = e / BLOCK_SUMS * 2 + e / 2 % 2;
    float p = exp2_fast(s[e] * scale_log2 - stats[i].x);
    ds[e] = p * (ds[e] - stats[i].y);
    if (is_masked) {
      int key = from + block_col(e % BLOCK_SUMS, lane);
      ds[e] = key <= reach[i] && key < end ? ds[e] : 0.0f;
    }
  }
  FRAGMENT d[BLOCKS_M];
#pragma unroll
  for (int i = 0; i < BLOCKS_M; i++) d[i] = fragment_of(ds + i * BLOCK_SUMS);
#pragma unroll
  for (int c = 0; c < COLUMN_BLOCKS; c++) {
    FRAGMENT b = load_b_kn(keys + c * 16, ROW_PITCH, lane);
#pragma unroll
    for (int i = 0; i < BLOCKS_M; i++) multiply_block(sums + (i * COLUMN_BLOCKS + c) * BLOCK_SUMS, d[i], b);
  }
}

#define MEET_KEYS(begin, end)                                                                                       \
  do {                                                                                                              \
    fetch_rows(q_tile, dout_tile, row_of, TILE_ROWS, ELEMENTS_AT(q), q_token_pitch, q_head_pitch, ELEMENTS_AT(dout), \
               dout_token_pitch, dout_head_pitch, query_heads, dim, value_dim, aligned, id);                        \
    FETCH_KEYS(0, (long)(begin), end);                                                                              \
    COMMIT_COPIES();                                                                                                \
    float sums[BLOCKS_M * COLUMN_BLOCKS * BLOCK_SUMS];                                                              \
    ZERO_SUMS(sums, BLOCKS_M * COLUMN_BLOCKS * BLOCK_SUMS);                                                         \
    float2 own_stats[2 * BLOCKS_M];                                                                                 \
    int own_reach[2 * BLOCKS_M];                                                                                    \
    _Pragma("unroll") for (int i = 0; i < 2 * BLOCKS_M; i++) {                                                     \
      own_stats[i] = stats_of[wave * 32 + lane / 4 + 8 * i];                                                        \
      own_reach[i] = reach_of[wave * 32 + lane / 4 + 8 * i];                                                        \
    }                                                                                                               \
    int stage = 0;                                                                                                  \
    for (int from = (begin); from < (end); from += STREAM_KEYS) {                                                   \
      WAIT_FOR_COPIES(0);                                                                                           \
      barrier(CLK_LOCAL_MEM_FENCE);                                                                                 \
      if (from + STREAM_KEYS < (end)) FETCH_KEYS(stage ^ 1, (long)from + STREAM_KEYS, end);                         \
      COMMIT_COPIES();                                                                                              \
      meet_tile(sums, q_tile + wave * 32 * ROW_PITCH, dout_tile + wave * 32 * ROW_PITCH,                            \
                streamed + stage * 2 * KEY_ELEMENTS, streamed + (stage * 2 + 1) * KEY_ELEMENTS, own_stats, own_reach, \
                from, end, scale_log2, IS_CAUSAL || from + STREAM_KEYS > (end), lane);                              \
      stage ^= 1;                                                                                                   \
    }                                                                                                               \
    WAIT_FOR_COPIES(0);                                                                                             \
    _Pragma("unroll") for (int i = 0; i < 2 * BLOCKS_M; i++) {                                                     \
      long at = part_of[wave * 32 + lane / 4 + 8 * i];                                                              \
      __global float *part = AT(float, parts) + max(at, 0L) * part_pitch;                                                    \
      _Pragma("unroll") for (int c = 0; c < COLUMN_BLOCKS * 2; c++) {                                              \
        int e = (i / 2 * COLUMN_BLOCKS + c / 2) * BLOCK_SUMS + c % 2 * 4 + i % 2 * 2;                               \
        int column = c * 8 + lane % 4 * 2;                                                                          \
        if (at >= 0 && column < dim) *(__global float2 *)(part + column) = (float2)(sums[e], sums[e + 1]);          \
      }                                                                                                             \
    }                                                                                                               \
  } while (0)

#include "backward_rows.clh"
