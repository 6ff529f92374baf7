#version 460
// Attention of tiles of query rows (attend.comp, which says what comes in and out) for F16 and BF16 on cooperative
// matrices: what a wave computes stays in its registers.
//
// That needs to know where a matrix's elements lie, which Vulkan leaves open. matrix/layout.comp asks the device when it is
// opened, and these kernels run only where the answer is that of mma.sync: lane l of a wave holds of a 16 x 16 block, of
// sums and of use A alike, rows l / 4 and l / 4 + 8, and of each the columns 2 (l % 4), 2 (l % 4) + 1 and those 8 further
// on. So sums of scores, rounded, are element by element the next product's operand, and a row's scores lie in four
// neighbouring lanes, which exchange their maxima by shuffles.
//
// A wave owns 16 rows, or 32 where WIDTH is 64, whose queries it keeps as operands. Shared memory has room for the keys
// and values of a tile; those of the next are on their way to registers meanwhile.
//
// Weights are relative to the maximum of a row's scores with the first tile, not with all: then nothing in the loop over
// keys scales sums anew, which costs copies of all of them whether taken or not. Where later scores are so much larger, or
// where a row saw nothing of the first tile, the sum of its weights may lie outside of [LEAST_TOTAL, MOST_TOTAL]: then the
// group finds the true maxima and starts again. That is rare.
//
// Constants: WIDTH (64, 128 or 256), KEYS, WAVES, and ROWS for all of them; PAGED, whether keys lie in the cache; WHOLE:
// rows of q, k and v are WIDTH wide and aligned and blocks are whole numbers of tiles, so that a chunk is one load whose
// address is one sum.
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require

#define ROW_PITCH PITCH(WIDTH)
#define VALUES_AT (KEYS * ROW_PITCH)
#define POOL_ROWS (ROWS > 2 * KEYS ? ROWS : 2 * KEYS)
#define TILE_CHUNKS CHUNKS_OF(POOL_ROWS * ROW_PITCH)
#include "../common/matrix.glsl"
#include "../common/copy.glsl"
#include "batch.glsl"
#include "pairs.glsl"
#include "forward.glsl"
#include "sequences.glsl"
#include "lists.glsl"

#define GROUP (WAVES * WAVE)
layout(local_size_x = GROUP) in;

#define WAVE_ROWS (ROWS / WAVES)
#define BLOCKS_M (WAVE_ROWS / 16)
#define KEY_BLOCKS (KEYS / 16)
#define COLUMN_BLOCKS (WIDTH / 16)
#define WIDTH_CHUNKS (WIDTH / CHUNK)
#define ROWS_AT_ONCE (GROUP / WIDTH_CHUNKS)
#define FETCHES (KEYS / ROWS_AT_ONCE)

layout(constant_id = 0) const bool WHOLE = false;
#ifdef KERNEL_moba_own
#define IS_OWN true
#else
#define IS_OWN false
#endif
// Listed blocks are seen by all rows of their tiles.
const bool HAS_MASK = !WHOLE || IS_OWN || IS_PAGED;

// After the first tile the sum of a row's weights lies between 1 and KEYS. F16 has weights up to 65504.
#define MOST_LOG2 15
const float LEAST_TOTAL = 1.0 / float(1 << MOST_LOG2), MOST_TOTAL = float(1 << MOST_LOG2);

// Of element e of a block: the upper or lower row, and the column.
#define HALF(e) ((e) / 4)
#define COLUMN(e, lane) (2 * ((lane) % 4) + (e) % 2 + (e) / 2 % 2 * 8)

shared int64_t query_at[ROWS];
shared int64_t part_at[ROWS];
shared ivec2 seen_of[ROWS];
shared int present[KEYS];
shared int has_other_maxima;
// What a row does not see has weight 0, and 0 times NaN is NaN: so values of masked tiles are looked through. Listed blocks
// are seen by all rows of their tiles, and what is not there are zeros: their kernel has no second way, which cost copies
// of all sums in each tile, taken or not.
#ifdef KERNEL_moba_own
shared int is_bad[2];  // of a tile and the next by turns
int turn;
#endif

// What is on its way to the tile, of keys and then of values, and whether each row of it is there.
uvec4 ahead[2 * FETCHES];
bool live[FETCHES];

// The head's keys and values; and where this work-item's next chunks lie, if WHOLE, of listed blocks.
uint64_t keys_of_head, values_of_head;
uint64_t next_key, next_value;

// Sets out for rows at positions [from, to) of a sequence, zeros for what is left of the tile or absent.
void fetch_any(const int first, uint64_t base, int64_t page_pitch, int64_t slot_pitch, int sequence, int from, int to,
               int width, bool aligned) {
  const int id = local_id();
  const int column = id % WIDTH_CHUNKS * CHUNK;
  const int count = clamp(width - column, 0, CHUNK);
  [[unroll]] for (int i = 0; i < FETCHES; i++) {
    const int row = id / WIDTH_CHUNKS + i * ROWS_AT_ONCE;
    ivec2 place = ivec2(-1, 0);
    if (row < to - from) place = key_at(sequence, from + row);
    live[i] = place.x >= 0;
    ahead[first + i] = uvec4(0u);
    if (live[i] && count > 0) {
      const int64_t element = place.x * page_pitch + place.y * slot_pitch + column;
      ahead[first + i] = read_chunk(base + uint64_t(element * 2), count, aligned);
    }
  }
}
uint64_t chunk_of(uint64_t base, int row, int64_t pitch) {
  return base + uint64_t((row * pitch + local_id() % WIDTH_CHUNKS * CHUNK) * 2);
}
// Sets out for a tile of keys and values. Beyond an own block's last key it is that key again: it is masked there.
void fetch(int sequence, int from, int to) {
  if (!WHOLE) {
    fetch_any(0, keys_of_head, a.k_page_pitch, a.k_slot_pitch, sequence, from, to, a.dim, (a.aligned & ALIGNED_K) != 0);
    fetch_any(FETCHES, values_of_head, a.v_page_pitch, a.v_slot_pitch, sequence, from, to, a.value_dim,
              (a.aligned & ALIGNED_V) != 0);
  } else if (IS_OWN) {
    [[unroll]] for (int i = 0; i < FETCHES; i++) {
      const int row = min(from + local_id() / WIDTH_CHUNKS + i * ROWS_AT_ONCE, to - 1);
      ahead[i] = Words4(chunk_of(keys_of_head, row, a.k_slot_pitch)).v;
      ahead[FETCHES + i] = Words4(chunk_of(values_of_head, row, a.v_slot_pitch)).v;
    }
  } else {
    [[unroll]] for (int i = 0; i < FETCHES; i++) {
      ahead[i] = Words4(next_key).v;
      next_key += uint64_t(ROWS_AT_ONCE * a.k_slot_pitch * 2);
    }
    [[unroll]] for (int i = 0; i < FETCHES; i++) {
      ahead[FETCHES + i] = Words4(next_value).v;
      next_value += uint64_t(ROWS_AT_ONCE * a.v_slot_pitch * 2);
    }
  }
}
void begin_keys(int kv_head, int sequence, int begin, int end) {
  keys_of_head = a.k + uint64_t(kv_head * a.k_head_pitch * 2);
  values_of_head = a.v + uint64_t(kv_head * a.v_head_pitch * 2);
  if (begin >= end) return;
  if (WHOLE) {
    next_key = chunk_of(keys_of_head, begin + local_id() / WIDTH_CHUNKS, a.k_slot_pitch);
    next_value = chunk_of(values_of_head, begin + local_id() / WIDTH_CHUNKS, a.v_slot_pitch);
  }
  fetch(sequence, begin, end);
}
void put_tiles(int id) {
  [[unroll]] for (int i = 0; i < FETCHES; i++) {
    const int where = (id / WIDTH_CHUNKS + i * ROWS_AT_ONCE) * ROW_PITCH + id % WIDTH_CHUNKS * CHUNK;
    put_chunk(where, ahead[i]);
    put_chunk(VALUES_AT + where, ahead[FETCHES + i]);
  }
}
// Whether any of eight elements is infinite or NaN.
bool has_bad(uvec4 bits) {
#if TYPE == TYPE_F16
  const uint exponent = 0x7c00u;
#else
  const uint exponent = 0x7f80u;
#endif
  const uvec4 low = bits & exponent, high = (bits >> 16) & exponent;
  return any(equal(low, uvec4(exponent))) || any(equal(high, uvec4(exponent)));
}

// Queries of the tile to shared memory; zeros for rows that are none.
void load_queries() {
  const int id = local_id();
  const int column = id % WIDTH_CHUNKS * CHUNK;
  if (WHOLE) {
    uvec4 bits[ROWS / ROWS_AT_ONCE];
    [[unroll]] for (int i = 0; i < ROWS / ROWS_AT_ONCE; i++) {
      const int64_t from = query_at[id / WIDTH_CHUNKS + i * ROWS_AT_ONCE];
      bits[i] = uvec4(0u);
      if (from >= 0) bits[i] = Words4(a.q + uint64_t((from + column) * 2)).v;
    }
    [[unroll]] for (int i = 0; i < ROWS / ROWS_AT_ONCE; i++) {
      put_chunk((id / WIDTH_CHUNKS + i * ROWS_AT_ONCE) * ROW_PITCH + column, bits[i]);
    }
  } else {
    const int count = clamp(a.dim - column, 0, CHUNK);
    const bool aligned = (a.aligned & ALIGNED_Q) != 0;
    [[dont_unroll]] for (int row = id / WIDTH_CHUNKS; row < ROWS; row += ROWS_AT_ONCE) {
      const int64_t from = query_at[row];
      uvec4 bits = uvec4(0u);
      if (from >= 0 && count > 0) bits = read_chunk(a.q + uint64_t((from + column) * 2), count, aligned);
      put_chunk(row * ROW_PITCH + column, bits);
    }
  }
}

UNIT_A queries[BLOCKS_M * COLUMN_BLOCKS];
ivec2 seen[2 * BLOCKS_M];  // by rows lane / 4 + 8 i of the wave
UNIT_SUMS scores[BLOCKS_M * KEY_BLOCKS];
#define SCORE(i, n) scores[(i) / 2 * KEY_BLOCKS + (n) / 4][(i) % 2 * 4 + (n) % 4]  // n of row i of this work-item

// Brings the tile that is on its way to shared memory, sets out for the next, and leaves the scores of this one, minus
// infinity for what a row does not see. Those that a scale not above 0 would turn round, or make NaN where they are masked,
// are scaled at once.
void score(int sequence, int from, int end, bool is_masked) {
  const int id = local_id(), lane = int(gl_SubgroupInvocationID);
  barrier();  // everybody is done with the tiles
  put_tiles(id);
#ifdef KERNEL_moba_own
  if (id == 0) is_bad[turn ^ 1] = 0;
#endif
#if PAGED
  if (id % WIDTH_CHUNKS == 0) {
    [[unroll]] for (int i = 0; i < FETCHES; i++) present[id / WIDTH_CHUNKS + i * ROWS_AT_ONCE] = live[i] ? 1 : 0;
  }
#endif
  barrier();
  if (from + KEYS < end) fetch(sequence, from + KEYS, end);

  [[unroll]] for (int i = 0; i < BLOCKS_M * KEY_BLOCKS; i++) scores[i] = UNIT_SUMS(0.0);
  [[unroll]] for (int c = 0; c < WIDTH; c += 16) {
    [[unroll]] for (int j = 0; j < KEY_BLOCKS; j++) {
      UNIT_B y;
      coopMatLoad(y, tile_memory, (j * 16 * ROW_PITCH + c) / CHUNK, ROW_PITCH / CHUNK, BY_COLUMNS);
      [[unroll]] for (int i = 0; i < BLOCKS_M; i++) {
        scores[i * KEY_BLOCKS + j] = coopMatMulAdd(queries[i * COLUMN_BLOCKS + c / 16], y, scores[i * KEY_BLOCKS + j]);
      }
    }
  }
  if (HAS_MASK && a.scale_log2 <= 0.0) {
    [[unroll]] for (int b = 0; b < BLOCKS_M * KEY_BLOCKS; b++) {
      [[unroll]] for (int e = 0; e < 8; e++) scores[b][e] *= a.scale_log2;
    }
  }
  if (is_masked) {
    [[unroll]] for (int b = 0; b < BLOCKS_M * KEY_BLOCKS; b++) {
      [[unroll]] for (int e = 0; e < 8; e++) {
        const int i = b / KEY_BLOCKS * 2 + HALF(e);
        const int key = b % KEY_BLOCKS * 16 + COLUMN(e, lane);
        bool sees = from + key >= seen[i].x && from + key <= seen[i].y;
#if PAGED
        sees = sees && present[key] != 0;
#endif
        scores[b][e] = sees ? scores[b][e] : MINUS_INFINITY;
      }
    }
  }
}

// Of a row's four lanes.
float highest_of_row(float v) {
  v = max(v, subgroupShuffleXor(v, 1));
  return max(v, subgroupShuffleXor(v, 2));
}
float sum_of_row(float v) {
  v += subgroupShuffleXor(v, 1);
  return v + subgroupShuffleXor(v, 2);
}

// The rows of the group's tile meet the keys at positions [begin, end) of a sequence, which begin_keys() has set out for;
// as attend.comp has it.
void attend(int kv_head, int sequence, int begin, int end, int all_from, int all_to) {
  const int id = local_id();
  const int wave = int(gl_SubgroupID), lane = int(gl_SubgroupInvocationID);
  load_queries();
  if (id == 0) has_other_maxima = 0;
#ifdef KERNEL_moba_own
  if (id == 0) is_bad[0] = 0;
  turn = 0;
#endif
  barrier();
  [[unroll]] for (int b = 0; b < BLOCKS_M * COLUMN_BLOCKS; b++) {
    coopMatLoad(queries[b], tile_memory,
                uint((wave * BLOCKS_M + b / COLUMN_BLOCKS) * 16 * ROW_PITCH + b % COLUMN_BLOCKS * 16) / CHUNK,
                ROW_PITCH / CHUNK, BY_ROWS);
  }
  UNIT_SUMS result[BLOCKS_M * COLUMN_BLOCKS];
  float maximum[2 * BLOCKS_M];  // or what stands for it
  float total[2 * BLOCKS_M];
  [[unroll]] for (int i = 0; i < 2 * BLOCKS_M; i++) {
    maximum[i] = 0.0;
    seen[i] = seen_of[wave * WAVE_ROWS + lane / 4 + 8 * i];
  }

  const float scale = a.scale_log2 > 0.0 || !HAS_MASK ? a.scale_log2 : 1.0;
  [[dont_unroll]] for (int attempt = 0; attempt < 2; attempt++) {
    [[unroll]] for (int i = 0; i < BLOCKS_M * COLUMN_BLOCKS; i++) result[i] = UNIT_SUMS(0.0);
    [[unroll]] for (int i = 0; i < 2 * BLOCKS_M; i++) total[i] = 0.0;
    [[dont_unroll]] for (int from = begin; from < end; from += KEYS) {
      const bool is_masked = HAS_MASK && (IS_PAGED || from < all_from || from + KEYS - 1 > all_to);
#ifdef KERNEL_moba_own
      bool bad = false;
      if (is_masked) {
        [[unroll]] for (int i = 0; i < FETCHES; i++) bad = bad || has_bad(ahead[FETCHES + i]);
      }
      if (bad) is_bad[turn] = 1;
#endif
      score(sequence, from, end, is_masked);
      if (attempt == 0 && from == begin) {
        [[unroll]] for (int i = 0; i < 2 * BLOCKS_M; i++) {
          float high = MINUS_INFINITY;
          [[unroll]] for (int n = 0; n < KEY_BLOCKS * 4; n++) high = max(high, SCORE(i, n) * scale);
          high = highest_of_row(high);
          maximum[i] = high == MINUS_INFINITY ? 0.0 : high;
        }
      }
      [[unroll]] for (int i = 0; i < 2 * BLOCKS_M; i++) {
        [[unroll]] for (int n = 0; n < KEY_BLOCKS * 4; n++) {
          const float p = exp2(fma(SCORE(i, n), scale, -maximum[i]));
          SCORE(i, n) = p;
          total[i] += p;
        }
      }

#ifdef KERNEL_moba_own
      const bool is_slow = is_bad[turn] != 0;
      turn ^= 1;
      if (is_slow) {
        // Key after key, leaving out what a row does not see. Columns 2 (key % 8 / 2) and the next of a row lie in the
        // lane of the row's four that has this number.
        [[unroll]] for (int part = 0; part < KEYS / 8; part++) {
          [[dont_unroll]] for (int n = 0; n < 8; n++) {
            const int key = part * 8 + n;
            const int source = (lane & ~3) | n / 2;
            [[unroll]] for (int i = 0; i < 2 * BLOCKS_M; i++) {
              const int b = i / 2 * KEY_BLOCKS + part / 2, e = i % 2 * 4 + part % 2 * 2;
              const float even = subgroupShuffle(scores[b][e], source);
              const float odd = subgroupShuffle(scores[b][e + 1], source);
              const float p = n % 2 != 0 ? odd : even;
              if (from + key >= seen[i].x && from + key <= seen[i].y) {
                [[unroll]] for (int m = 0; m < COLUMN_BLOCKS * 4; m++) {
                  const int element = i % 2 * 4 + m % 4;
                  result[i / 2 * COLUMN_BLOCKS + m / 4][element] +=
                      p * value_at(VALUES_AT + key * ROW_PITCH + m / 4 * 16 + COLUMN(element, lane));
                }
              }
            }
          }
        }
      } else
#endif
      {
        [[unroll]] for (int j = 0; j < KEY_BLOCKS; j++) {
          UNIT_A p[BLOCKS_M];
          [[unroll]] for (int i = 0; i < BLOCKS_M; i++) {
            const int b = i * KEY_BLOCKS + j;
            [[unroll]] for (int e = 0; e < 8; e += 2) {
              PUT_PAIR(p[i], e, to_unit_weights(vec2(scores[b][e], scores[b][e + 1])))
            }
          }
          [[unroll]] for (int c = 0; c < COLUMN_BLOCKS; c++) {
            UNIT_B y;
            coopMatLoad(y, tile_memory, (VALUES_AT + j * 16 * ROW_PITCH + c * 16) / CHUNK, ROW_PITCH / CHUNK, BY_ROWS);
            [[unroll]] for (int i = 0; i < BLOCKS_M; i++) {
              result[i * COLUMN_BLOCKS + c] = coopMatMulAdd(p[i], y, result[i * COLUMN_BLOCKS + c]);
            }
          }
        }
      }
    }
    [[unroll]] for (int i = 0; i < 2 * BLOCKS_M; i++) total[i] = sum_of_row(total[i]);
    if (attempt > 0) break;

    bool is_far = false;
    [[unroll]] for (int i = 0; i < 2 * BLOCKS_M; i++) {
      is_far = is_far || (seen[i].x <= seen[i].y && !(total[i] >= LEAST_TOTAL && total[i] <= MOST_TOTAL));
    }
    if (is_far) has_other_maxima = 1;
    barrier();
    if (has_other_maxima == 0) break;
    [[unroll]] for (int i = 0; i < 2 * BLOCKS_M; i++) maximum[i] = MINUS_INFINITY;
    begin_keys(kv_head, sequence, begin, end);
    [[dont_unroll]] for (int from = begin; from < end; from += KEYS) {
      const bool is_masked = HAS_MASK && (IS_PAGED || from < all_from || from + KEYS - 1 > all_to);
      score(sequence, from, end, is_masked);
      [[unroll]] for (int i = 0; i < 2 * BLOCKS_M; i++) {
        [[unroll]] for (int n = 0; n < KEY_BLOCKS * 4; n++) maximum[i] = max(maximum[i], SCORE(i, n) * scale);
      }
    }
    [[unroll]] for (int i = 0; i < 2 * BLOCKS_M; i++) {
      const float high = highest_of_row(maximum[i]);
      maximum[i] = high == MINUS_INFINITY ? 0.0 : high;
    }
    begin_keys(kv_head, sequence, begin, end);
  }

  // A wave's parts take the place of its own query rows, so that rows leave in whole chunks.
  barrier();
  [[unroll]] for (int i = 0; i < 2 * BLOCKS_M; i++) {
    const int row = wave * WAVE_ROWS + lane / 4 + 8 * i;
    const float inverse = total[i] == 0.0 ? 0.0 : 1.0 / total[i];  // 0: every key is absent, or has no weight
    [[unroll]] for (int n = 0; n < COLUMN_BLOCKS * 4; n += 2) {
      const int element = i % 2 * 4 + n % 4;
      const int b = i / 2 * COLUMN_BLOCKS + n / 4;
      put_word((row * ROW_PITCH + n / 4 * 16 + COLUMN(element, lane)) / 2,
               narrow2(vec2(result[b][element], result[b][element + 1]) * inverse, TYPE));
    }
    if (lane % 4 == 0 && part_at[row] >= 0) {
      store_float2(a.part_sums, part_at[row], vec2(total[i] == 0.0 ? MINUS_INFINITY : maximum[i], total[i]));
    }
  }
  barrier();
  const int column = id % WIDTH_CHUNKS * CHUNK;
  if (column < a.value_dim) {
    [[dont_unroll]] for (int row = id / WIDTH_CHUNKS; row < ROWS; row += ROWS_AT_ONCE) {
      if (part_at[row] >= 0) {
        Words4(at(a.parts, part_at[row] * a.part_pitch + column, 2)).v = chunk_at(row * ROW_PITCH + column);
      }
    }
  }
}

#include "attend.glsl"
