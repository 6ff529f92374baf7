// Selection of MoBA's blocks: scores q . mean of past blocks, and the slots best of every row.
//
//   moba_select_few  at most FEW of them
//   moba_select_any  any number
//
// A group meets the means of its rows' past blocks with ROWS rows of one sequence, KEYS at a time; a wave has tiles of
// SM x SN scores, which pass through local memory to the work-items of each row. Other constants: rows.clh.
//
// A candidate is 64 bits: the score, mapped so that integers compare like floats, then the block's complement, so that
// ties go to the lower block. 0 is none; minus infinity and NaN are the least that there is.
//
// Up to FEW selected blocks, each work-item of a row keeps the best of its share of the columns in registers, and one
// of them joins what they have at the end. For more, one work-item of a row keeps a heap in device memory.
#include "rows.clh"

#define TILE_M SM
#define TILE_N SN
#define TILE(name) score_##name
#include "../common/tile.clh"

#define SCORE_ROWS (ROWS / SM)
#define SCORE_TILES (SCORE_ROWS * (KEYS / SN))
#define SEGMENTS (GROUP / ROWS)
#define SEGMENT (KEYS / SEGMENTS)
#define SCORE_PITCH (KEYS + 1)
#define FEW 8

static inline ulong candidate(float score, int block) {
  uint bits = as_uint(score == score ? score + 0.0f : MINUS_INFINITY);  // -0 becomes 0
  uint ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return (ulong)ordered << 32 | (uint)~block;
}
static inline float candidate_score(ulong candidate) {
  uint ordered = (uint)(candidate >> 32);
  return as_float(ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered);
}
static inline int candidate_block(ulong candidate) { return (int)~(uint)candidate; }

// Descending.
static inline void insert(ulong *best, ulong x) {
#pragma unroll
  for (int i = 0; i < FEW; i++) {
    bool above = x > best[i];
    ulong low = above ? best[i] : x;
    best[i] = above ? x : best[i];
    x = low;
  }
}

// Puts x on top of a heap whose keys grow downwards and restores the order. by_block: the key is the block.
static inline ulong heap_key(ulong x, bool by_block) { return by_block ? (ulong)(uint)candidate_block(x) : x; }
static inline void heap_sink(__global ulong *heap, int size, ulong x, bool by_block) {
  int at = 0;
  while (true) {
    int child = 2 * at + 1;
    if (child >= size) break;
    if (child + 1 < size && heap_key(heap[child + 1], by_block) < heap_key(heap[child], by_block)) child++;
    if (heap_key(x, by_block) <= heap_key(heap[child], by_block)) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = x;
}
static inline void heap_rise(__global ulong *heap, int at, ulong x, bool by_block) {
  while (at > 0 && heap_key(heap[(at - 1) / 2], by_block) > heap_key(x, by_block)) {
    heap[at] = heap[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  heap[at] = x;
}

#define SELECT_PARAMETERS                                                                                         \
  BATCH_PARAMETERS, READS(q), const long q_token_pitch, const long q_head_pitch, READS(means),                    \
      const long means_page_pitch, const long means_slot_pitch, const long means_head_pitch, const int dim,       \
      const int first_head, const int slots, const int aligned, WRITES(selection), const long selection_token_pitch, \
      const long selection_head_pitch, const int columns, CHANGES(heaps)

// The best of each work-item take the place of queries at the end.
#define BEST_ELEMENTS (FEW * GROUP * 8 / (TYPE == TYPE_F32 ? 4 : 2))
#define QUERIES (ROWS * ROW_PITCH > BEST_ELEMENTS ? ROWS * ROW_PITCH : BEST_ELEMENTS)
#define SELECT_LOCALS                                  \
  __local ELEMENT queries[QUERIES] ALIGNED16;          \
  __local ELEMENT keys[KEYS * ROW_PITCH] ALIGNED16;    \
  __local float scores[ROWS * SCORE_PITCH];            \
  __local long query_at[ROWS]

// Scores of a tile of means with the group's rows, minus infinity where the mean is absent. Ends behind a barrier.
static inline void score_means(BATCH_FORMAL, const __local ELEMENT *queries, __local ELEMENT *keys,
                               __local float *scores, const __global ELEMENT *base, long page_pitch, long slot_pitch,
                               Sequence s, int from, int to, int dim, int aligned, int id) {
  int depth = padded(dim, 16);
  for (int i = id; i < KEYS * CHUNKS; i += GROUP) {
    int row = i / CHUNKS;
    int column = i % CHUNKS * CHUNK;
    if (column >= depth) continue;
    const __global ELEMENT *at = 0;
    if (from + row < to) {
      int2 place = mean_at(BATCH, s, from + row);
      if (place.x >= 0) at = base + place.x * page_pitch + place.y * slot_pitch;
    }
    load_chunk(keys + row * ROW_PITCH + column, at, column, dim, aligned);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  int lane = id % WAVE;
  for (int tile = id / WAVE; tile < SCORE_TILES; tile += WAVES) {
    int first_row = tile % SCORE_ROWS * SM;
    int first_key = tile / SCORE_ROWS * SN;
    float sums[score_sums];
    ZERO_SUMS(sums, score_sums);
    score_multiply(sums, queries + first_row * ROW_PITCH, ROW_PITCH, keys + first_key * ROW_PITCH, ROW_PITCH, depth,
                   lane);
#pragma unroll
    for (int e = 0; e < score_sums; e++) {
      scores[(first_row + score_row(e, lane)) * SCORE_PITCH + first_key + score_col(e, lane)] = sums[e];
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
}

static inline bool is_mean_absent(BATCH_FORMAL, Sequence s, int block) {
  return paged && mean_at(BATCH, s, block).x < 0;
}

static inline int past_blocks(QueryTile tile, int group, int block_size, int row) {
  Sequence s = tile.sequence;
  return s.keys > 0 ? (tile_token(tile, group, row) + s.shift - s.origin) / block_size : 0;
}

// What both kernels begin with. Where all past blocks of all rows are selected, it writes them and is done.
#define SELECT_BEGIN                                                                                             \
  BATCH_POINTERS;                                                                                                \
  QueryTile tile = query_tile(BATCH, get_group_id(0), ROWS);                                                     \
  if (tile.count == 0) return;                                                                                   \
  int head = (int)get_group_id(1);                                                                               \
  int kv_head = first_head + head;                                                                               \
  int id = (int)get_local_id(0);                                                                                 \
  int row = id % ROWS;                                                                                           \
  int segment = id / ROWS;                                                                                       \
  bool live = row < tile.count;                                                                                  \
  int past = live ? past_blocks(tile, group, block_size, row) : 0;                                               \
  int most = past_blocks(tile, group, block_size, tile.count - 1);                                               \
  long token = live ? tile_token(tile, group, row) : 0;                                                          \
  int g = live ? tile_head(tile, group, row) : 0;                                                                \
  __global int *chosen = AT(int, selection) + token * selection_token_pitch +                                    \
                         ((long)kv_head * group + g) * selection_head_pitch;                                     \
  if (most <= slots) {                                                                                           \
    for (int i = segment; live && i < columns; i += SEGMENTS) chosen[i] = i < past ? i : -1;                     \
    return;                                                                                                      \
  }                                                                                                              \
  if (segment == 0) {                                                                                            \
    query_at[row] = live ? token * q_token_pitch + ((long)kv_head * group + g) * q_head_pitch : -1;              \
  }                                                                                                              \
  barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
  load_queries(queries, ELEMENTS_AT(q), query_at, dim, aligned & ALIGNED_Q, id)

#define SCORE_MEANS(from)                                                                                      \
  score_means(BATCH, queries, keys, scores, ELEMENTS_AT(means) + kv_head * means_head_pitch, means_page_pitch, \
              means_slot_pitch, tile.sequence, from, most, dim, aligned & ALIGNED_MEANS, id)

// Groups along x: tiles of rows; along y: heads of the pass.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moba_select_few(SELECT_PARAMETERS) {
  SELECT_LOCALS;
  __local ushort places[SEGMENT * GROUP];
  SELECT_BEGIN;
  ulong best[FEW];
#pragma unroll
  for (int i = 0; i < FEW; i++) best[i] = 0;
  float least = NAN;  // scores up to it are not among the best; ties go to lower blocks, which came before
  for (int from = 0; from < most; from += KEYS) {
    SCORE_MEANS(from);
    // First the columns that may be among the best, then those into the best: work-items of a wave insert together.
    int first = segment * SEGMENT;
    int columns_here = clamp(past - from - first, 0, SEGMENT);
    int count = 0;
    for (int i = first; i < first + columns_here; i++) {
      if (paged && mean_at(BATCH, tile.sequence, from + i).x < 0) scores[row * SCORE_PITCH + i] = MINUS_INFINITY;
      places[count * GROUP + id] = (ushort)i;
      count += scores[row * SCORE_PITCH + i] <= least ? 0 : 1;  // not where it is NaN, or there are fewer yet
    }
    for (int n = 0; n < count; n++) {
      int i = places[n * GROUP + id];
      ulong x = candidate(scores[row * SCORE_PITCH + i], from + i);
      if (x > best[FEW - 1]) insert(best, x);
    }
    if (best[FEW - 1] != 0) least = candidate_score(best[FEW - 1]);
  }
  __local ulong *shared_best = (__local ulong *)queries;
#pragma unroll
  for (int i = 0; i < FEW; i++) shared_best[i * GROUP + id] = best[i];
  barrier(CLK_LOCAL_MEM_FENCE);
  if (segment == 0 && live) {
    for (int other = 1; other < SEGMENTS; other++) {
      for (int i = 0; i < FEW; i++) insert(best, shared_best[i * GROUP + other * ROWS + row]);
    }
    // Ascending: a block's place is the number of lower ones.
    int count = min(past, slots);
#pragma unroll
    for (int i = 0; i < FEW; i++) {
      if (i < count) {
        int place = 0;
#pragma unroll
        for (int j = 0; j < FEW; j++) {
          place += j < count && candidate_block(best[j]) < candidate_block(best[i]) ? 1 : 0;
        }
        chosen[place] = candidate_block(best[i]);
      }
    }
    for (int i = count; i < columns; i++) chosen[i] = -1;
  }
  END_OF_GROUP;
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void moba_select_any(SELECT_PARAMETERS) {
  SELECT_LOCALS;
  SELECT_BEGIN;
  __global ulong *heap = AT(ulong, heaps) + (((long)head * tokens + token) * group + g) * slots;
  for (int from = 0; from < most; from += KEYS) {
    SCORE_MEANS(from);
    for (int i = 0; segment == 0 && i < KEYS && from + i < past; i++) {
      float score = scores[row * SCORE_PITCH + i];
      if (is_mean_absent(BATCH, tile.sequence, from + i)) score = MINUS_INFINITY;
      ulong x = candidate(score, from + i);
      if (from + i < slots) {
        heap_rise(heap, from + i, x, false);
      } else if (x > heap[0]) {
        heap_sink(heap, slots, x, false);
      }
    }
  }
  if (segment == 0 && live) {
    int size = min(past, slots);
    // A heap by block, from which blocks leave in ascending order.
    for (int i = 1; i < size; i++) heap_rise(heap, i, heap[i], true);
    for (int i = size; i < columns; i++) chosen[i] = -1;
    for (int i = 0; i < size; i++) {
      int left = size - 1 - i;
      chosen[i] = candidate_block(heap[0]);
      if (left > 0) heap_sink(heap, left, heap[left], true);
    }
  }
  END_OF_GROUP;
}
