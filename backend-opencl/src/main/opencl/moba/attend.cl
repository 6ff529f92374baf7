// MoBA forward, packed or over the paged cache: attention of tiles of query rows, after selection (select.cl).
//
//   moba_listed     a group takes a tile of one list's rows (lists.cl) and meets the block's keys
//   moba_own        a group takes neighbouring rows of a sequence and meets their own blocks, causally
//   moba_merge      adds a row's parts, in slot order, its own block last (merge.cl)
//
// Keys and values of a block are read once for each tile of its readers, whatever the selection looks like, and every
// sum has an order that no scheduling changes. A part is a row's attention to one block: normalised, in the storage
// type, with its largest scaled score (in powers of two) and the sum of its weights. Row r of the head h of a pass has
// parts (h * tokens * group + r) * (slots + 1) + slot; the last is its own block's.
//
// Work of a group: ROWS queries stay in local memory; keys and then values of KEYS positions take turns in a second
// tile. Scores pass through local memory, where GROUP / ROWS work-items share a row of them: softmax is online and in
// powers of two. Sums lie in the accumulators of matrix.clh. Constants beside those of rows.clh:
//   SM, SN   the tile of scores of a wave; OM, ON the tile of output of a wave, of which it has OUTPUTS
#include "forward.clh"
#include "rows.clh"

#define TILE_M SM
#define TILE_N SN
#define TILE(name) score_##name
#include "../common/tile.clh"
#define TILE_M OM
#define TILE_N ON
#define TILE(name) output_##name
#include "../common/tile.clh"

#define SCORE_ROWS (ROWS / SM)
#define SCORE_TILES (SCORE_ROWS * (KEYS / SN))
#define OUTPUT_ROWS (ROWS / OM)
#define OUTPUTS (OUTPUT_ROWS * (WIDTH / ON) / WAVES)
#define SEGMENTS (GROUP / ROWS)
#define SEGMENT (KEYS / SEGMENTS)
#define SCORE_PITCH (KEYS + 1)
#define WEIGHT_PITCH PITCH(KEYS)

#define NO_ENTRY 0xffffffffu

// ---- attention -------------------------------------------------------------------------------------------------

#define ATTEND_LOCALS                                   \
  __local ELEMENT queries[ROWS * ROW_PITCH] ALIGNED16;  \
  __local ELEMENT keys[KEYS * ROW_PITCH] ALIGNED16;     \
  __local ELEMENT weights[ROWS * WEIGHT_PITCH] ALIGNED16; \
  __local float scores[ROWS * SCORE_PITCH];             \
  __local float maxima[GROUP];                          \
  __local float factors[ROWS];                          \
  __local long query_at[ROWS];                          \
  __local long part_at[ROWS];                           \
  __local int2 seen_of[ROWS];                           \
  __local int present[KEYS];                            \
  __local int is_bad
#define ATTEND_LOCAL_FORMAL                                                                                    \
  __local ELEMENT *queries, __local ELEMENT *keys, __local ELEMENT *weights, __local float *scores,            \
      __local float *maxima, __local float *factors, const __local long *query_at, const __local long *part_at, \
      const __local int2 *seen_of, __local int *present, __local int *is_bad
#define ATTEND_LOCAL queries, keys, weights, scores, maxima, factors, query_at, part_at, seen_of, present, &is_bad

// Rows at positions [from, to) of a sequence, zeros in what is left of the tile or absent. Says whether any value of
// this work-item's is not finite.
static inline bool load_keys(BATCH_FORMAL, __local ELEMENT *tile, __local int *present, const __global ELEMENT *base,
                             long page_pitch, long slot_pitch, int sequence, int from, int to, int width, int columns,
                             int aligned, bool is_checked, int id) {
  bool bad = false;
  for (int i = id; i < KEYS * CHUNKS; i += GROUP) {
    int row = i / CHUNKS;
    int column = i % CHUNKS * CHUNK;
    if (column >= columns) continue;
    const __global ELEMENT *at = 0;
    if (row < to - from) {
      int2 place = key_at(BATCH, sequence, from + row);
      if (place.x >= 0) at = base + place.x * page_pitch + place.y * slot_pitch;
    }
    __local ELEMENT *target = tile + row * ROW_PITCH + column;
    load_chunk(target, at, column, width, aligned);
    if (column == 0) present[row] = at != 0;
    if (is_checked) {
      UNROLL
      for (int c = 0; c < CHUNK; c++) bad = bad || !is_finite(target[c]);
    }
  }
  return bad;
}

// The rows of the group's tile meet the keys at positions [begin, end) of a sequence. Row r sees positions
// [seen_of[r].x, seen_of[r].y] of them; all rows see [all_from, all_to]. Leaves parts.
static inline __attribute__((always_inline)) void attend(BATCH_FORMAL, ATTEND_LOCAL_FORMAL, const __global ELEMENT *q_p, const __global ELEMENT *k_p,
                          long k_page_pitch, long k_slot_pitch, const __global ELEMENT *v_p, long v_page_pitch,
                          long v_slot_pitch, int dim, int value_dim, float scale_log2, int aligned,
                          __global ELEMENT *parts_p, int part_pitch, __global float2 *part_sums_p, int sequence,
                          int begin, int end, int all_from, int all_to) {
  int id = (int)get_local_id(0);
  int wave = id / WAVE;
  int lane = id % WAVE;
  int row = id % ROWS;  // whose softmax this work-item shares
  int segment = id / ROWS;
  int depth = padded(dim, 16);
  int value_columns = padded(value_dim, ON);
  load_queries(queries, q_p, query_at, dim, aligned & ALIGNED_Q, id);

  float output[OUTPUTS * output_sums];
  ZERO_SUMS(output, OUTPUTS * output_sums);
  float maximum = MINUS_INFINITY;
  float total = 0;
  for (int from = begin; from < end; from += KEYS) {
    load_keys(BATCH, keys, present, k_p, k_page_pitch, k_slot_pitch, sequence, from, end, dim, depth,
              aligned & ALIGNED_K, false, id);
    if (id == 0) *is_bad = 0;
    barrier(CLK_LOCAL_MEM_FENCE);

    for (int tile = wave; tile < SCORE_TILES; tile += WAVES) {
      int first_row = tile % SCORE_ROWS * SM;
      int first_key = tile / SCORE_ROWS * SN;
      float sums[score_sums];
      ZERO_SUMS(sums, score_sums);
      score_multiply(sums, queries + first_row * ROW_PITCH, ROW_PITCH, keys + first_key * ROW_PITCH, ROW_PITCH, depth,
                     lane);
      UNROLL
      for (int e = 0; e < score_sums; e++) {
        // A negative scale turns minus infinity round, so scores are scaled before they are masked.
        scores[(first_row + score_row(e, lane)) * SCORE_PITCH + first_key + score_col(e, lane)] = sums[e] * scale_log2;
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    bool is_masked = paged || from < all_from || from + KEYS - 1 > all_to;
    __local float *own_scores = scores + row * SCORE_PITCH + segment * SEGMENT;
    int2 seen = seen_of[row];
    float highest = MINUS_INFINITY;
    for (int i = 0; i < SEGMENT; i++) {
      int key = segment * SEGMENT + i;
      float x = own_scores[i];
      if (is_masked && (from + key < seen.x || from + key > seen.y || !present[key])) {
        x = MINUS_INFINITY;
        own_scores[i] = x;
      }
      highest = fmax(highest, x);
    }
    maxima[segment * ROWS + row] = highest;
    barrier(CLK_LOCAL_MEM_FENCE);

    // Values take the place of keys. What a row does not see has weight 0, and 0 times NaN is NaN: so values of a
    // masked tile are looked through.
    if (load_keys(BATCH, keys, present, v_p, v_page_pitch, v_slot_pitch, sequence, from, end, value_dim,
                  value_columns, aligned & ALIGNED_V, is_masked, id)) {
      *is_bad = 1;
    }
    highest = maximum;
    for (int s = 0; s < SEGMENTS; s++) highest = fmax(highest, maxima[s * ROWS + row]);
    float base = highest == MINUS_INFINITY ? 0.0f : highest;  // nothing seen yet: all weights become 0
    float factor = exp2(maximum - base);
    maximum = highest;
    float added = 0;
    for (int i = 0; i < SEGMENT; i++) {
      float p = exp2(own_scores[i] - base);
      added += p;
      weights[row * WEIGHT_PITCH + segment * SEGMENT + i] = element_of(p);
    }
    total = total * factor + added;
    if (segment == 0) factors[row] = factor;
    barrier(CLK_LOCAL_MEM_FENCE);

    bool is_slow = *is_bad != 0;
    UNROLL
    for (int n = 0; n < OUTPUTS; n++) {
      int tile = wave + n * WAVES;
      int first_row = tile % OUTPUT_ROWS * OM;
      int first_column = tile / OUTPUT_ROWS * ON;
      if (first_column >= value_dim) continue;
      float *sums = output + n * output_sums;
      UNROLL
      for (int e = 0; e < output_sums; e++) sums[e] *= factors[first_row + output_row(e, lane)];
      if (!is_slow) {
        output_multiply_kn(sums, weights + first_row * WEIGHT_PITCH, WEIGHT_PITCH, keys + first_column, ROW_PITCH,
                           KEYS, lane);
      } else {
        for (int key = 0; key < KEYS; key++) {
          UNROLL
          for (int e = 0; e < output_sums; e++) {
            int r = first_row + output_row(e, lane);
            int2 sees = seen_of[r];
            if (from + key >= sees.x && from + key <= sees.y) {
              sums[e] += value_of(weights[r * WEIGHT_PITCH + key]) *
                         value_of(keys[key * ROW_PITCH + first_column + output_col(e, lane)]);
            }
          }
        }
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }

  // Parts leave by way of local memory, in whole chunks.
  maxima[segment * ROWS + row] = total;
  barrier(CLK_LOCAL_MEM_FENCE);
  if (segment == 0) {
    total = 0;
    for (int s = 0; s < SEGMENTS; s++) total += maxima[s * ROWS + row];
    factors[row] = total == 0 ? 0.0f : 1 / total;  // 0: every key is absent, or has no weight
    if (part_at[row] >= 0) part_sums_p[part_at[row]] = (float2)(maximum, total);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  UNROLL
  for (int n = 0; n < OUTPUTS; n++) {
    int tile = wave + n * WAVES;
    int first_row = tile % OUTPUT_ROWS * OM;
    int first_column = tile / OUTPUT_ROWS * ON;
    if (first_column >= value_dim) continue;
    UNROLL
    for (int e = 0; e < output_sums; e++) {
      int r = first_row + output_row(e, lane);
      queries[r * ROW_PITCH + first_column + output_col(e, lane)] =
          element_of(output[n * output_sums + e] * factors[r]);
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int i = id; i < ROWS * CHUNKS; i += GROUP) {
    int r = i / CHUNKS;
    int column = i % CHUNKS * CHUNK;
    if (column < value_dim && part_at[r] >= 0) {
      *(__global uint4 *)(parts_p + part_at[r] * part_pitch + column) =
          *(const __local uint4 *)(queries + r * ROW_PITCH + column);
    }
  }
}

#include "attend_kernels.clh"
