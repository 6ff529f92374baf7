// Attention of tiles of query rows (attend.cl, which says what comes in and out) for F16 and BF16 on NVIDIA's matrix
// units (MATRIX 1, mma.clh): what a wave computes stays in its registers.
//
// A wave owns 32 rows, two blocks of 16 (one where WIDTH is 256, for the registers). Sums of scores, rounded, are the
// next product's operand without a way through local memory; a row's scores lie in four neighbouring lanes, which
// exchange their maxima by shuffles. Every fragment of keys or values that is read from local memory serves both blocks
// of rows, every fragment of queries all keys of a tile: that traffic is what bounds the speed, one product of
// 16 x 8 x 16 a cycle for a whole multiprocessor.
//
// Keys have two tiles of KEYS of them: the next ones are on their way while these are computed with. Values have one,
// which fills while their keys' scores are computed. Constants: WIDTH (64, 128 or 256), KEYS, WAVES, and ROWS for all of
// them; PAGED, whether keys lie in the cache.
#include "forward.clh"
#include "rows.clh"
#include "../common/copy.clh"

#define WAVE_ROWS (ROWS / WAVES)
#define BLOCKS_M (WAVE_ROWS / 16)
#define KEY_BLOCKS (KEYS / 16)
#define COLUMN_BLOCKS (WIDTH / 16)
#define TILE_ELEMENTS (KEYS * ROW_PITCH)
#define LAG 8.0f

// Element n of row lane / 4 + 8 i of the wave: of a block of sums, elements 0, 1, 4, 5 lie in the upper row.
#define SCORE(i, n) (((i) / 2 * KEY_BLOCKS + (n) / 4) * BLOCK_SUMS + (n) % 2 + (n) / 2 % 2 * 4 + (i) % 2 * 2)

#define ATTEND_LOCALS                                            \
  __local ELEMENT queries[ROWS * ROW_PITCH] ALIGNED16;           \
  __local ELEMENT tiles[3 * TILE_ELEMENTS] ALIGNED16;            \
  __local long query_at[ROWS];                                   \
  __local long part_at[ROWS];                                    \
  __local int2 seen_of[ROWS];                                    \
  __local int present[2 * KEYS];                                 \
  __local int is_bad[2]

// Begins to copy rows at positions [from, to) of a sequence, zeros for what is left of the tile or absent; `present`
// says which are not, where it is given.
static inline void fetch(BATCH_FORMAL, __local ELEMENT *tile, __local int *present, const __global ELEMENT *base,
                         long page_pitch, long slot_pitch, int sequence, int from, int to, int width, int aligned,
                         int id) {
  const int rows_at_once = GROUP / CHUNKS;
  int column = id % CHUNKS * CHUNK;
  int count = clamp(width - column, 0, CHUNK);
  __local ELEMENT *target = tile + id / CHUNKS * ROW_PITCH + column;
#if PAGED
#pragma unroll 4
  for (int i = 0; i < KEYS; i += rows_at_once) {
    int row = id / CHUNKS + i;
    int2 place = (int2)(-1, 0);
    if (row < to - from) place = key_at(BATCH, sequence, from + row);
    bool live = place.x >= 0;
    if (present != 0 && column == 0) present[row] = live;
    copy_chunk(target + i * ROW_PITCH, live ? base + place.x * page_pitch + place.y * slot_pitch + column : base,
               live ? count : 0, aligned);
  }
#else
  const __global ELEMENT *source = base + (from + id / CHUNKS) * slot_pitch + column;
#pragma unroll 4
  for (int i = 0; i < KEYS; i += rows_at_once) {
    bool live = id / CHUNKS + i < to - from;
    copy_chunk(target + i * ROW_PITCH, live ? source : base, live ? count : 0, aligned);
    source += rows_at_once * slot_pitch;
  }
#endif
}

// Tiles: keys, keys, values.
#define FETCH_KEYS(stage, at)                                                                                      \
  fetch(BATCH, tiles + (stage) * TILE_ELEMENTS, present + (stage) * KEYS, k_p, k_page_pitch, k_slot_pitch, sequence, \
        at, end, dim, aligned & ALIGNED_K, id)
#define FETCH_VALUES(at)                                                                                   \
  fetch(BATCH, tiles + 2 * TILE_ELEMENTS, 0, v_p, v_page_pitch, v_slot_pitch, sequence, at, end, value_dim, \
        aligned & ALIGNED_V, id)

// The rows of the group's tile meet the keys at positions [begin, end) of a sequence; as attend.cl has it.
static inline __attribute__((always_inline)) void attend(BATCH_FORMAL, __local ELEMENT *queries, __local ELEMENT *tiles,
                          const __local long *query_at, const __local long *part_at, const __local int2 *seen_of,
                          __local int *present, __local int *is_bad, const __global ELEMENT *q_p,
                          const __global ELEMENT *k_p, long k_page_pitch, long k_slot_pitch,
                          const __global ELEMENT *v_p, long v_page_pitch, long v_slot_pitch, int dim, int value_dim,
                          float scale_log2, int aligned, __global ELEMENT *parts_p, int part_pitch,
                          __global float2 *part_sums_p, int sequence, int begin, int end, int all_from, int all_to) {
  int id = (int)get_local_id(0);
  int wave = id / WAVE;
  int lane = id % WAVE;
  {
    int column = id % CHUNKS * CHUNK;
    int count = clamp(dim - column, 0, CHUNK);
#pragma unroll 4
    for (int i = 0; i < ROWS; i += GROUP / CHUNKS) {
      int row = id / CHUNKS + i;
      long at = query_at[row];
      copy_chunk(queries + row * ROW_PITCH + column, at < 0 ? q_p : q_p + at + column, at < 0 ? 0 : count,
                 aligned & ALIGNED_Q);
    }
  }
  if (begin < end) FETCH_KEYS(0, begin);
  COMMIT_COPIES();

  const __local ELEMENT *own_queries = queries + wave * WAVE_ROWS * ROW_PITCH;
  const __local int2 *own_seen = seen_of + wave * WAVE_ROWS + lane / 4;  // of row lane / 4 + 8 i at 8 i
  float output[BLOCKS_M * COLUMN_BLOCKS * BLOCK_SUMS];
  ZERO_SUMS(output, BLOCKS_M * COLUMN_BLOCKS * BLOCK_SUMS);
  float maximum[2 * BLOCKS_M];  // of rows lane / 4 + 8 i of the wave
  float total[2 * BLOCKS_M];
#pragma unroll
  for (int i = 0; i < 2 * BLOCKS_M; i++) {
    maximum[i] = MINUS_INFINITY;
    total[i] = 0;
  }

  // Scores that a scale not above 0 would turn round, or make NaN where they are masked, are scaled at once.
  float scale = scale_log2 > 0 ? scale_log2 : 1.0f;
  int stage = 0;
  for (int from = begin; from < end; from += KEYS) {
    WAIT_FOR_COPIES(0);
    barrier(CLK_LOCAL_MEM_FENCE);  // these keys have arrived, and everybody is done with those before and their values
    FETCH_VALUES(from);
    COMMIT_COPIES();
    if (from + KEYS < end) FETCH_KEYS(stage ^ 1, from + KEYS);
    COMMIT_COPIES();
    const __local ELEMENT *keys = tiles + stage * TILE_ELEMENTS;
    const __local ELEMENT *values = tiles + 2 * TILE_ELEMENTS;

    float s[BLOCKS_M * KEY_BLOCKS * BLOCK_SUMS];
    ZERO_SUMS(s, BLOCKS_M * KEY_BLOCKS * BLOCK_SUMS);
#pragma unroll
    for (int c = 0; c < WIDTH; c += 16) {
      FRAGMENT a[BLOCKS_M];
#pragma unroll
      for (int i = 0; i < BLOCKS_M; i++) a[i] = load_a(own_queries + i * 16 * ROW_PITCH + c, ROW_PITCH, lane);
#pragma unroll
      for (int j = 0; j < KEY_BLOCKS; j++) {
        FRAGMENT b = load_b(keys + j * 16 * ROW_PITCH + c, ROW_PITCH, lane);
#pragma unroll
        for (int i = 0; i < BLOCKS_M; i++) multiply_block(s + (i * KEY_BLOCKS + j) * BLOCK_SUMS, a[i], b);
      }
    }

    if (scale_log2 <= 0) {
#pragma unroll
      for (int e = 0; e < BLOCKS_M * KEY_BLOCKS * BLOCK_SUMS; e++) s[e] *= scale_log2;
    }
    bool is_masked = PAGED || from < all_from || from + KEYS - 1 > all_to;
    if (is_masked) {
#pragma unroll
      for (int e = 0; e < BLOCKS_M * KEY_BLOCKS * BLOCK_SUMS; e++) {
        int i = e / (KEY_BLOCKS * BLOCK_SUMS) * 2 + e / 2 % 2;
        int key = e / BLOCK_SUMS % KEY_BLOCKS * 16 + block_col(e % BLOCK_SUMS, lane);
        bool sees = from + key >= own_seen[8 * i].x && from + key <= own_seen[8 * i].y;
#if PAGED
        sees = sees && present[stage * KEYS + key];
#endif
        s[e] = sees ? s[e] : MINUS_INFINITY;
      }
    }

    // Weights are relative to a maximum that may lag behind by a factor of 2^LAG: sums are rarely scaled anew.
    float base[2 * BLOCKS_M];
    float highest[2 * BLOCKS_M];
    bool grows = false;
#pragma unroll
    for (int i = 0; i < 2 * BLOCKS_M; i++) {
      float high = MINUS_INFINITY;
#pragma unroll
      for (int n = 0; n < KEY_BLOCKS * 4; n++) high = fmax(high, s[SCORE(i, n)]);
      high = fmax(high, of_lane_across(high, 1));
      high = fmax(high, of_lane_across(high, 2));
      highest[i] = high * scale;
      grows = grows || highest[i] > maximum[i] + LAG;
    }
    if (any_lane(grows)) {
#pragma unroll
      for (int i = 0; i < 2 * BLOCKS_M; i++) {
        float high = highest[i] > maximum[i] + LAG ? highest[i] : maximum[i];
        float factor = high == MINUS_INFINITY ? 1.0f : exp2_fast(maximum[i] - high);
        maximum[i] = high;
        total[i] *= factor;
#pragma unroll
        for (int c = 0; c < COLUMN_BLOCKS * 4; c++) {
          output[(i / 2 * COLUMN_BLOCKS + c / 4) * BLOCK_SUMS + c % 2 + c / 2 % 2 * 4 + i % 2 * 2] *= factor;
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 2 * BLOCKS_M; i++) {
      base[i] = maximum[i] == MINUS_INFINITY ? 0.0f : -maximum[i];  // nothing seen yet: all weights become 0
#pragma unroll
      for (int n = 0; n < KEY_BLOCKS * 4; n++) {
        float p = exp2_fast(fma(s[SCORE(i, n)], scale, base[i]));
        s[SCORE(i, n)] = p;
        total[i] += p;
      }
    }

    // What a row does not see has weight 0, and 0 times NaN is NaN: so values of a masked tile are looked through.
    bool is_slow = false;
    if (id == 0) is_bad[stage] = 0;
    WAIT_FOR_COPIES(1);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (is_masked) {
      bool bad = false;
      for (int i = id; i < KEYS * CHUNKS; i += GROUP) {
        const __local ELEMENT *chunk = values + i / CHUNKS * ROW_PITCH + i % CHUNKS * CHUNK;
        for (int c = 0; c < CHUNK; c++) bad = bad || !is_finite(chunk[c]);
      }
      if (bad) is_bad[stage] = 1;
      barrier(CLK_LOCAL_MEM_FENCE);
      is_slow = is_bad[stage] != 0;
    }
    if (!is_slow) {
#pragma unroll
      for (int j = 0; j < KEY_BLOCKS; j++) {
        FRAGMENT p[BLOCKS_M];
#pragma unroll
        for (int i = 0; i < BLOCKS_M; i++) p[i] = fragment_of(s + (i * KEY_BLOCKS + j) * BLOCK_SUMS);
#pragma unroll
        for (int c = 0; c < COLUMN_BLOCKS; c++) {
          FRAGMENT b = load_b_kn(values + j * 16 * ROW_PITCH + c * 16, ROW_PITCH, lane);
#pragma unroll
          for (int i = 0; i < BLOCKS_M; i++) multiply_block(output + (i * COLUMN_BLOCKS + c) * BLOCK_SUMS, p[i], b);
        }
      }
    } else {
      // Key after key, leaving out what a row does not see. Columns 2 (key % 8 / 2) and the next of a row lie in the
      // lane of the row's four that has this number.
#pragma unroll
      for (int part = 0; part < KEYS / 8; part++) {
#pragma unroll 1
        for (int n = 0; n < 8; n++) {
          int key = part * 8 + n;
          int source = (lane & ~3) | n / 2;
#pragma unroll
          for (int i = 0; i < 2 * BLOCKS_M; i++) {
            int e = (i / 2 * KEY_BLOCKS + part / 2) * BLOCK_SUMS + part % 2 * 4 + i % 2 * 2;
            float even = of_lane(s[e], source);
            float odd = of_lane(s[e + 1], source);
            float p = n % 2 ? odd : even;
            if (from + key >= own_seen[8 * i].x && from + key <= own_seen[8 * i].y) {
#pragma unroll
              for (int c = 0; c < COLUMN_BLOCKS * 4; c++) {
                int o = c / 4 * BLOCK_SUMS + c % 2 + c / 2 % 2 * 4;
                output[i / 2 * COLUMN_BLOCKS * BLOCK_SUMS + o + i % 2 * 2] +=
                    p * value_of(values[key * ROW_PITCH + c / 4 * 16 + block_col(c % 2 + c / 2 % 2 * 4, lane)]);
              }
            }
          }
        }
      }
    }
    stage ^= 1;
  }
  WAIT_FOR_COPIES(0);

  // A wave's parts take the place of its own query rows, so that rows leave in whole chunks.
  __local ELEMENT *rows = queries + wave * WAVE_ROWS * ROW_PITCH;
#pragma unroll
  for (int i = 0; i < 2 * BLOCKS_M; i++) {
    float sum = total[i];
    sum += of_lane_across(sum, 1);
    sum += of_lane_across(sum, 2);
    total[i] = sum;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
  for (int i = 0; i < 2 * BLOCKS_M; i++) {
    int row = lane / 4 + 8 * i;
    float inverse = total[i] == 0 ? 0.0f : 1 / total[i];  // 0: every key is absent, or has no weight
#pragma unroll
    for (int c = 0; c < COLUMN_BLOCKS * 2; c++) {
      int e = (i / 2 * COLUMN_BLOCKS + c / 2) * BLOCK_SUMS + c % 2 * 4 + i % 2 * 2;
      *(__local uint *)(rows + row * ROW_PITCH + c / 2 * 16 + c % 2 * 8 + lane % 4 * 2) =
          pack(output[e] * inverse, output[e + 1] * inverse);
    }
    long at = part_at[wave * WAVE_ROWS + row];
    if (lane % 4 == 0 && at >= 0) part_sums_p[at] = (float2)(maximum[i], total[i]);
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

#define ATTEND_LOCAL queries, tiles, query_at, part_at, seen_of, present, is_bad
#include "attend_kernels.clh"
