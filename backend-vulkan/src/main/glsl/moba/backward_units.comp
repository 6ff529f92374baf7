#version 460
// MoBA backward (backward.comp, which has the mathematics and says what comes in and out) for F16 and BF16 on cooperative
// matrices whose elements lie as attend_units.comp says, rows of up to 128 columns: what a wave computes stays in its
// registers.
//
// Keys: a wave owns 16 BLOCKS keys, whose k and v it keeps as operands, and computes the transposes of S and dP: as sums
// they are, rounded, the operands P^T and dS^T of the products that follow. Rows of q and dout stream by through shared
// memory, STREAM at a time: of two tensors by turns the next rows are on their way to registers while these are
// multiplied, and where the rows of the tile after next lie is looked up. Rows: a wave owns 16 BLOCKS of them, keeps their
// q and dout, and keys and values stream by. Constants: WIDTH (64 or 128), BLOCKS, WAVES 4; WHOLE: rows of q, k, v and dout
// are WIDTH wide and aligned and blocks are whole numbers of tiles of STREAM keys, so that a chunk is one load.
#extension GL_KHR_shader_subgroup_basic : require

#define STREAM 32
#define ROW_PITCH PITCH(WIDTH)
#define OWN_ROWS (16 * BLOCKS * WAVES)
#define POOL_ROWS (OWN_ROWS > 4 * STREAM ? OWN_ROWS : 4 * STREAM)
#define TILE_CHUNKS CHUNKS_OF(POOL_ROWS * ROW_PITCH)
#include "../common/matrix.glsl"
#include "../common/copy.glsl"
#include "batch.glsl"
#include "pairs.glsl"
#include "backward.glsl"

#define GROUP (WAVES * WAVE)
layout(local_size_x = GROUP) in;

layout(constant_id = 0) const bool WHOLE = false;

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

#define SEES_NOTHING (-1)
#define SEES_ALL 0x7fffffff
#define COLUMN_BLOCKS (WIDTH / 16)
#define STREAM_BLOCKS (STREAM / 16)
#define WIDTH_CHUNKS (WIDTH / CHUNK)
#define ROWS_AT_ONCE (GROUP / WIDTH_CHUNKS)
// Of what streams by, places in the pool are counted in chunks: the loads of matrices then have constants beside the turn.
#define ROW_CHUNKS (ROW_PITCH / CHUNK)
#define SECOND (STREAM * ROW_CHUNKS)  // the place of the second tensor that streams
#define TURN (2 * SECOND)             // and of the tile that comes next
#define FETCHES (STREAM / ROWS_AT_ONCE)

// Of element e of a block: the upper or lower row, and the column.
#define HALF(e) ((e) / 4)
#define COLUMN(e, lane) (2 * ((lane) % 4) + (e) % 2 + (e) / 2 % 2 * 8)

// Whether not all rows see all keys.
#ifdef KERNEL_moba_backward_own
#define IS_CAUSAL true
#else
#define IS_CAUSAL false
#endif

const int own_blocks = BLOCKS * COLUMN_BLOCKS;

// A row's chunk, zeros beyond its width; no row: 0.
uvec4 chunk_of(uint64_t row, int column, int width, bool aligned) {
  uvec4 bits = uvec4(0u);
  if (WHOLE) {
    if (row != 0ul) bits = Words4(row + uint64_t(2 * column)).v;
    return bits;
  }
  if (row != 0ul && column < width) bits = read_chunk(row + uint64_t(2 * column), min(width - column, CHUNK), aligned);
  return bits;
}

uint64_t query_row(uint64_t base, int64_t row, int64_t token_pitch, int64_t head_pitch) {
  const uint token = uint(uint64_t(row) / uint(a.query_heads));
  const uint head = uint(uint64_t(row) - uint64_t(token) * uint(a.query_heads));
  return base + uint64_t((token * token_pitch + head * head_pitch) * 2);
}

// Rows [0, count) of a tensor of queries to the pool: row r is rows[first + r], or absent.
#define COPY_QUERY_ROWS(where, count, rows, first, base, token_pitch, head_pitch, width, aligned)             \
  [[unroll]] for (int i_ = 0; i_ < (count) / ROWS_AT_ONCE; i_++) {                                            \
    const int r_ = id / WIDTH_CHUNKS + i_ * ROWS_AT_ONCE;                                                     \
    const int64_t row_ = rows[(first) + r_];                                                                  \
    put_chunk((where) + r_ * ROW_PITCH + column,                                                              \
              chunk_of(row_ < 0 ? 0ul : query_row(base, row_, token_pitch, head_pitch), column, width, aligned)); \
  }
// The same of keys or values of tokens [from, to) of a head.
#define COPY_TOKENS(where, count, base, token_pitch, from, to, width, aligned)                                \
  [[unroll]] for (int i_ = 0; i_ < (count) / ROWS_AT_ONCE; i_++) {                                            \
    const int r_ = id / WIDTH_CHUNKS + i_ * ROWS_AT_ONCE;                                                     \
    put_chunk((where) + r_ * ROW_PITCH + column,                                                              \
              chunk_of((from) + r_ < (to) ? (base) + uint64_t(((from) + r_) * (token_pitch) * 2) : 0ul, column, width, \
                       aligned));                                                                             \
  }
// What is on its way to the pool.
uvec4 ahead[FETCHES];
void put_ahead(int where, int id) {
  [[unroll]] for (int i = 0; i < FETCHES; i++) {
    tile_memory[where + (id / WIDTH_CHUNKS + i * ROWS_AT_ONCE) * ROW_CHUNKS + id % WIDTH_CHUNKS] = ahead[i];
  }
}
// A wave's own rows of the pool as operands.
#define LOAD_OWN(own)                                                                                         \
  [[unroll]] for (int b_ = 0; b_ < own_blocks; b_++) {                                                        \
    coopMatLoad(own[b_], tile_memory,                                                                         \
                uint((wave * BLOCKS + b_ / COLUMN_BLOCKS) * 16 * ROW_PITCH + b_ % COLUMN_BLOCKS * 16) / CHUNK, \
                ROW_PITCH / CHUNK, BY_ROWS);                                                                  \
  }

// s = own STREAMED^T for both tensors that stream, one block of 16 of their rows.
#define MULTIPLY_SCORES(s, ds, first_own, second_own, turn, block)                                                  \
  [[unroll]] for (int i_ = 0; i_ < BLOCKS; i_++) {                                                            \
    s[i_] = UNIT_SUMS(0.0);                                                                                   \
    ds[i_] = UNIT_SUMS(0.0);                                                                                  \
  }                                                                                                           \
  [[unroll]] for (int c_ = 0; c_ < COLUMN_BLOCKS; c_++) {                                                     \
    UNIT_B y_;                                                                                                \
    coopMatLoad(y_, tile_memory, uint(turn) + (block) * 16 * ROW_CHUNKS + c_ * 16 / CHUNK, ROW_CHUNKS, BY_COLUMNS); \
    [[unroll]] for (int i_ = 0; i_ < BLOCKS; i_++) s[i_] = coopMatMulAdd(first_own[i_ * COLUMN_BLOCKS + c_], y_, s[i_]); \
    coopMatLoad(y_, tile_memory, uint(turn) + SECOND + (block) * 16 * ROW_CHUNKS + c_ * 16 / CHUNK, ROW_CHUNKS, BY_COLUMNS); \
    [[unroll]] for (int i_ = 0; i_ < BLOCKS; i_++) ds[i_] = coopMatMulAdd(second_own[i_ * COLUMN_BLOCKS + c_], y_, ds[i_]); \
  }

#ifdef KERNEL_moba_backward_keys
// Of a tile and the next by turns.
shared uint64_t q_at[2 * STREAM];
shared uint64_t dout_at[2 * STREAM];
shared vec2 stats_of[2 * STREAM];
shared int reach_of[2 * STREAM];

// Row `index` of all that a group of keys meets: the own ones, then the list's; as token * query_heads + head, or -1.
int64_t met_row(int64_t index, int64_t own_padded, uint own_rows, uint length, uint64_t entries, int start, int kv_head) {
  const uint group = uint(a.group);
  if (index < own_padded) {
    if (index >= own_rows) return -1;
    const uint token = uint(index) / group;
    return int64_t(start + int(token)) * a.query_heads + int64_t(kv_head) * group + (uint(index) - token * group);
  }
  if (index - own_padded >= length) return -1;
  const uint row = load_uint(entries, index - own_padded) / uint(a.slots);
  const uint token = row / group;
  return int64_t(token) * a.query_heads + int64_t(kv_head) * group + (row - token * group);
}
#define MET_ROW(tile) met_row(int64_t(tile) * STREAM + id, own_padded, own_rows, length, entries, start, kv_head)
#define REACH(tile, row) \
  ((row) < 0 ? SEES_NOTHING : (tile) < own_tiles ? int((row) / a.query_heads) : SEES_ALL)

void set_row(int r, int64_t row) {
  q_at[r] = row < 0 ? 0ul : query_row(a.q, row, a.q_token_pitch, a.q_head_pitch);
  dout_at[r] = row < 0 ? 0ul : query_row(a.dout, row, a.dout_token_pitch, a.dout_head_pitch);
}
#define FETCH_ROWS(rows_at, first, width, aligned)                                                             \
  {                                                                                                           \
    [[unroll]] for (int i_ = 0; i_ < FETCHES; i_++) {                                                         \
      ahead[i_] = chunk_of(rows_at[(first) + id / WIDTH_CHUNKS + i_ * ROWS_AT_ONCE], column, width, aligned); \
    }                                                                                                         \
  }

// A wave's sums, rounded, leave by way of its own rows of the pool.
void store_keys(UNIT_SUMS sums[BLOCKS * COLUMN_BLOCKS], float factor, uint64_t base, int64_t token_pitch, int first_key,
                int end, int width, bool aligned, int id, int wave, int lane) {
  barrier();
  [[unroll]] for (int b = 0; b < own_blocks; b++) {
    [[unroll]] for (int e = 0; e < 8; e += 2) {
      const int row = (wave * BLOCKS + b / COLUMN_BLOCKS) * 16 + lane / 4 + 8 * HALF(e);
      put_word((row * ROW_PITCH + b % COLUMN_BLOCKS * 16 + COLUMN(e, lane)) / 2,
               narrow2(vec2(sums[b][e], sums[b][e + 1]) * factor, TYPE));
    }
  }
  barrier();
  const int column = id % WIDTH_CHUNKS * CHUNK;
  if (base == 0ul || column >= width) return;
  [[dont_unroll]] for (int row = id / WIDTH_CHUNKS; row < OWN_ROWS; row += ROWS_AT_ONCE) {
    if (first_key + row < end) {
      write_chunk(base + uint64_t(((first_key + row) * token_pitch + column) * 2), chunk_at(row * ROW_PITCH + column),
                  min(width - column, CHUNK), aligned);
    }
  }
}

// Groups: heads of this pass, of each its block numbers, of each `shares` of OWN_ROWS keys.
void main() {
  const uint item = group_id();
  const int share = int(item % uint(a.shares));
  const int number = int(item / uint(a.shares) % uint(a.block_count));
  const int head = int(item / uint(a.shares) / uint(a.block_count));
  const int kv_head = a.first_head + head;
  const Block block = load_int4(a.blocks, number);
  const int64_t first_key = block.x + int64_t(share) * OWN_ROWS;
  if (first_key >= block.y) return;
  const int start = int(first_key);
  const int id = local_id();
  const int wave = int(gl_SubgroupID), lane = int(gl_SubgroupInvocationID);
  const int column = id % WIDTH_CHUNKS * CHUNK;
  const int dim = a.dim, value_dim = a.value_dim;
  const bool q_aligned = (a.aligned & ALIGNED_Q) != 0, dout_aligned = (a.aligned & ALIGNED_DOUT) != 0;
  const float scale_log2 = a.scale_log2;

  uint length = 0u;
  uint64_t entries = 0ul;
  if (a.slots > 0) {
    const int64_t first_of_head = int64_t(a.first_list + head) * a.block_count;
    const int64_t list = first_of_head + number;
    length = list_length(a.offsets, list);
    entries = at(a.entries, (a.first_list + head) * a.entries_per_head +
                                int64_t(list_start(a.offsets, list, first_of_head)), 4);
  }
  const uint own_rows = uint(block.y - start) * uint(a.group);
  const int own_tiles = int((int64_t(own_rows) + STREAM - 1) / STREAM);
  const int64_t own_padded = int64_t(own_tiles) * STREAM;
  const int tiles = own_tiles + int((int64_t(length) + STREAM - 1) / STREAM);

  int64_t next_row = -1;
  if (id < STREAM) {
    const int64_t row = MET_ROW(0);
    set_row(id, row);
    stats_of[id] = vec2(0.0);
    if (row >= 0) stats_of[id] = load_float2(a.stats, row);
    reach_of[id] = REACH(0, row);
    next_row = MET_ROW(1);
    set_row(STREAM + id, next_row);
  }
  UNIT_A own_k[own_blocks];
  UNIT_A own_v[own_blocks];
  COPY_TOKENS(0, OWN_ROWS, a.k + uint64_t(kv_head * a.k_head_pitch * 2), a.k_token_pitch, first_key, block.y, dim,
              (a.aligned & ALIGNED_K) != 0)
  barrier();
  LOAD_OWN(own_k)
  barrier();
  COPY_TOKENS(0, OWN_ROWS, a.v + uint64_t(kv_head * a.v_head_pitch * 2), a.v_token_pitch, first_key, block.y, value_dim,
              (a.aligned & ALIGNED_V) != 0)
  barrier();
  LOAD_OWN(own_v)
  barrier();
  if (tiles > 0) {
    FETCH_ROWS(q_at, 0, dim, q_aligned)
    put_ahead(0, id);
    FETCH_ROWS(dout_at, 0, value_dim, dout_aligned)
    put_ahead(SECOND, id);
  }

  UNIT_SUMS key_sums[own_blocks];
  UNIT_SUMS value_sums[own_blocks];
  [[unroll]] for (int b = 0; b < own_blocks; b++) {
    key_sums[b] = UNIT_SUMS(0.0);
    value_sums[b] = UNIT_SUMS(0.0);
  }
  [[dont_unroll]] for (int tile = 0; tile < tiles; tile++) {
    const int stage = (tile & 1) * STREAM, turn = (tile & 1) * TURN;
    const bool goes_on = tile + 1 < tiles;
    barrier();  // everybody is done with the tile before, and has put its part of this one
    int64_t row_after = -1;
    vec2 next_stats = vec2(0.0);
    if (goes_on) {
      FETCH_ROWS(q_at, stage ^ STREAM, dim, q_aligned)
      if (id < STREAM) {
        if (next_row >= 0) next_stats = load_float2(a.stats, next_row);
        row_after = MET_ROW(tile + 2);
      }
    }

    const bool is_whole = tile >= own_tiles && tile < tiles - 1;
    [[unroll]] for (int j = 0; j < STREAM_BLOCKS; j++) {
      UNIT_SUMS s[BLOCKS];
      UNIT_SUMS ds[BLOCKS];
      MULTIPLY_SCORES(s, ds, own_k, own_v, turn, j)
      UNIT_A p[BLOCKS];
      UNIT_A d[BLOCKS];
      [[unroll]] for (int e = 0; e < 8; e++) {
        const int r = stage + j * 16 + COLUMN(e, lane);
        const vec2 stats = stats_of[r];
        const int reach = reach_of[r];
        [[unroll]] for (int i = 0; i < BLOCKS; i++) {
          float weight = exp2(s[i][e] * scale_log2 - stats.x);
          float slope = weight * (ds[i][e] - stats.y);
          if (!is_whole) {
            const int key = start + (wave * BLOCKS + i) * 16 + lane / 4 + 8 * HALF(e);
            const bool seen = key <= reach;
            weight = seen ? weight : 0.0;
            slope = seen ? slope : 0.0;
          }
          s[i][e] = weight;
          ds[i][e] = slope;
        }
      }
      [[unroll]] for (int i = 0; i < BLOCKS; i++) {
        [[unroll]] for (int e = 0; e < 8; e += 2) {
          PUT_PAIR(p[i], e, to_units(vec2(s[i][e], s[i][e + 1])))
          PUT_PAIR(d[i], e, to_units(vec2(ds[i][e], ds[i][e + 1])))
        }
      }
      [[unroll]] for (int c = 0; c < COLUMN_BLOCKS; c++) {
        UNIT_B y;
        coopMatLoad(y, tile_memory, uint(turn) + SECOND + j * 16 * ROW_CHUNKS + c * 16 / CHUNK, ROW_CHUNKS, BY_ROWS);
        [[unroll]] for (int i = 0; i < BLOCKS; i++) {
          value_sums[i * COLUMN_BLOCKS + c] = coopMatMulAdd(p[i], y, value_sums[i * COLUMN_BLOCKS + c]);
        }
        coopMatLoad(y, tile_memory, uint(turn) + j * 16 * ROW_CHUNKS + c * 16 / CHUNK, ROW_CHUNKS, BY_ROWS);
        [[unroll]] for (int i = 0; i < BLOCKS; i++) {
          key_sums[i * COLUMN_BLOCKS + c] = coopMatMulAdd(d[i], y, key_sums[i * COLUMN_BLOCKS + c]);
        }
      }
      if (goes_on) {
        put_ahead((turn ^ TURN) + j * SECOND, id);
        if (j == 0) FETCH_ROWS(dout_at, stage ^ STREAM, value_dim, dout_aligned)
      }
    }
    if (id < STREAM) {
      stats_of[(stage ^ STREAM) + id] = next_stats;
      reach_of[(stage ^ STREAM) + id] = REACH(tile + 1, next_row);
      set_row(stage + id, row_after);
      next_row = row_after;
    }
  }
  store_keys(key_sums, a.scale, GIVEN(dk) ? a.dk + uint64_t(kv_head * a.dk_head_pitch * 2) : 0ul, a.dk_token_pitch, start,
             block.y, dim, (a.aligned & ALIGNED_DK) != 0, id, wave, lane);
  store_keys(value_sums, 1.0, GIVEN(dv) ? a.dv + uint64_t(kv_head * a.dv_head_pitch * 2) : 0ul, a.dv_token_pitch, start,
             block.y, value_dim, (a.aligned & ALIGNED_DV) != 0, id, wave, lane);
}
#else

shared int64_t row_of[OWN_ROWS];
shared int64_t part_of[OWN_ROWS];
shared int reach_of[OWN_ROWS];

void set_row(int r, int64_t row, int reach) {
  row_of[r] = row;
  reach_of[r] = row < 0 ? SEES_NOTHING : reach;
}

#define FETCH_TOKENS(base, token_pitch, from, width, aligned)                                                          \
  {                                                                                                                   \
    [[unroll]] for (int i_ = 0; i_ < FETCHES; i_++) {                                                                 \
      const int token_ = (from) + id / WIDTH_CHUNKS + i_ * ROWS_AT_ONCE;                                              \
      ahead[i_] = chunk_of(token_ < end ? (base) + uint64_t(token_ * (token_pitch) * 2) : 0ul, column, width, aligned); \
    }                                                                                                                 \
  }

// The rows of the tile meet the keys of tokens [begin, end) and leave parts of dq: row r at part_of[r] * part_pitch.
void meet_keys(int kv_head, int begin, int end, int id) {
  const int wave = int(gl_SubgroupID), lane = int(gl_SubgroupInvocationID);
  const int column = id % WIDTH_CHUNKS * CHUNK;
  const int dim = a.dim, value_dim = a.value_dim;
  const bool k_aligned = (a.aligned & ALIGNED_K) != 0, v_aligned = (a.aligned & ALIGNED_V) != 0;
  const float scale_log2 = a.scale_log2;
  UNIT_A own_q[own_blocks];
  UNIT_A own_dout[own_blocks];
  COPY_QUERY_ROWS(0, OWN_ROWS, row_of, 0, a.q, a.q_token_pitch, a.q_head_pitch, dim, (a.aligned & ALIGNED_Q) != 0)
  barrier();
  LOAD_OWN(own_q)
  barrier();
  COPY_QUERY_ROWS(0, OWN_ROWS, row_of, 0, a.dout, a.dout_token_pitch, a.dout_head_pitch, value_dim,
                  (a.aligned & ALIGNED_DOUT) != 0)
  barrier();
  LOAD_OWN(own_dout)

  vec2 stats[2 * BLOCKS];  // of rows lane / 4 + 8 i of the wave
  int reach[2 * BLOCKS];
  [[unroll]] for (int i = 0; i < 2 * BLOCKS; i++) {
    const int r = wave * BLOCKS * 16 + lane / 4 + 8 * i;
    stats[i] = vec2(0.0);
    if (row_of[r] >= 0) stats[i] = load_float2(a.stats, row_of[r]);
    reach[i] = reach_of[r];
  }
  UNIT_SUMS sums[own_blocks];
  [[unroll]] for (int b = 0; b < own_blocks; b++) sums[b] = UNIT_SUMS(0.0);
  const uint64_t k = a.k + uint64_t(kv_head * a.k_head_pitch * 2), v = a.v + uint64_t(kv_head * a.v_head_pitch * 2);
  const int64_t k_pitch = a.k_token_pitch, v_pitch = a.v_token_pitch;
  barrier();
  FETCH_TOKENS(k, k_pitch, begin, dim, k_aligned)
  put_ahead(0, id);
  FETCH_TOKENS(v, v_pitch, begin, value_dim, v_aligned)
  put_ahead(SECOND, id);
  int turn = 0;
  [[dont_unroll]] for (int from = begin; from < end; from += STREAM) {
    const bool goes_on = from + STREAM < end;
    barrier();  // everybody is done with the tile before, and has put its part of this one
    if (goes_on) FETCH_TOKENS(k, k_pitch, from + STREAM, dim, k_aligned)
    const bool is_masked = IS_CAUSAL || (!WHOLE && from + STREAM > end);
    [[unroll]] for (int j = 0; j < STREAM_BLOCKS; j++) {
      UNIT_SUMS s[BLOCKS];
      UNIT_SUMS ds[BLOCKS];
      MULTIPLY_SCORES(s, ds, own_q, own_dout, turn, j)
      UNIT_A d[BLOCKS];
      [[unroll]] for (int e = 0; e < 8; e++) {
        const int key = from + j * 16 + COLUMN(e, lane);
        [[unroll]] for (int i = 0; i < BLOCKS; i++) {
          const int r = 2 * i + HALF(e);
          float slope = exp2(s[i][e] * scale_log2 - stats[r].x) * (ds[i][e] - stats[r].y);
          if (is_masked) slope = key <= reach[r] && key < end ? slope : 0.0;
          s[i][e] = slope;
        }
      }
      [[unroll]] for (int i = 0; i < BLOCKS; i++) {
        [[unroll]] for (int e = 0; e < 8; e += 2) PUT_PAIR(d[i], e, to_units(vec2(s[i][e], s[i][e + 1])))
      }
      [[unroll]] for (int c = 0; c < COLUMN_BLOCKS; c++) {
        UNIT_B y;
        coopMatLoad(y, tile_memory, uint(turn) + j * 16 * ROW_CHUNKS + c * 16 / CHUNK, ROW_CHUNKS, BY_ROWS);
        [[unroll]] for (int i = 0; i < BLOCKS; i++) {
          sums[i * COLUMN_BLOCKS + c] = coopMatMulAdd(d[i], y, sums[i * COLUMN_BLOCKS + c]);
        }
      }
      if (goes_on) {
        put_ahead((turn ^ TURN) + j * SECOND, id);
        if (j == 0) FETCH_TOKENS(v, v_pitch, from + STREAM, value_dim, v_aligned)
      }
    }
    turn ^= TURN;
  }
  [[unroll]] for (int i = 0; i < 2 * BLOCKS; i++) {
    const int64_t part = part_of[wave * BLOCKS * 16 + lane / 4 + 8 * i];
    if (part >= 0) {
      [[unroll]] for (int n = 0; n < COLUMN_BLOCKS * 4; n += 2) {
        const int e = i % 2 * 4 + n % 4, c = n / 4 * 16 + COLUMN(e, lane);
        if (c < dim) {
          store_float2(at(a.parts, part * a.part_pitch + c, 4), 0,
                       vec2(sums[i / 2 * COLUMN_BLOCKS + n / 4][e], sums[i / 2 * COLUMN_BLOCKS + n / 4][e + 1]));
        }
      }
    }
  }
}
#endif

#include "backward_rows.glsl"
