#version 460
// Selection (select.comp) for F16 and BF16 on cooperative matrices: scores are multiplied there and stored to shared memory,
// where the rest is as in the plain kernels. Constants: WIDTH, ROWS, KEYS, WAVES.
#extension GL_KHR_shader_subgroup_basic : require
#define ROW_PITCH PITCH(WIDTH)
#define SCORE_PITCH (ROWS + 4)  // of the scores of one mean: neighbouring work-items have neighbouring rows
#define SCORES_AT (KEYS * ROW_PITCH / 2)  // in words, behind the means
#define MEAN_CHUNKS ((SCORES_AT + KEYS * SCORE_PITCH) / 4)
#define ROW_CHUNKS (ROWS * ROW_PITCH / CHUNK)
#define TILE_CHUNKS (MEAN_CHUNKS > ROW_CHUNKS ? MEAN_CHUNKS : ROW_CHUNKS)
#include "../common/matrix.glsl"
#include "../common/copy.glsl"
#include "batch.glsl"
#include "select_arguments.glsl"
TAKES_ARGUMENTS;

#define FEW 8
#define GROUP (WAVES * WAVE)
layout(local_size_x = GROUP) in;
#include "sequences.glsl"

#define WIDTH_CHUNKS (WIDTH / CHUNK)
#define ROWS_AT_ONCE (GROUP / WIDTH_CHUNKS)
#define SCORE_ROWS (ROWS / 16)
#define SEGMENTS (GROUP / ROWS)
#define SEGMENT (KEYS / SEGMENTS)

#define SCORE_AT(row, i) float_at(SCORES_AT + (i) * SCORE_PITCH + (row))
#define PUT_SCORE(row, i, v) put_float(SCORES_AT + (i) * SCORE_PITCH + (row), v)
#define BEST_AT(i) word_at(i)
#define PUT_BEST(i, v) put_word(i, v)

shared int64_t query_at[ROWS];

#define QUERIES_OF_ITEM (ROWS / ROWS_AT_ONCE)
#define MEANS_OF_ITEM (KEYS / ROWS_AT_ONCE)

// A wave's share of the scores: 16 rows, whose queries it keeps as operands, and of the means 16 of each MEANS_OF_WAVES.
#define ROW_OF_WAVE (int(gl_SubgroupID) % SCORE_ROWS * 16)
#define MEANS_OF_WAVE (int(gl_SubgroupID) / SCORE_ROWS * 16)
#define MEANS_OF_WAVES (WAVES / SCORE_ROWS * 16)
UNIT_A queries[WIDTH / 16];

// Means take the place of the rows.
void load_rows(int id) {
  const int column = id % WIDTH_CHUNKS * CHUNK;
  const int count = clamp(a.dim - column, 0, CHUNK);
  if ((a.aligned & ALIGNED_Q) != 0 && a.dim % CHUNK == 0) {  // all set out together
    uvec4 bits[QUERIES_OF_ITEM];
    [[unroll]] for (int i = 0; i < QUERIES_OF_ITEM; i++) {
      const int64_t from = query_at[id / WIDTH_CHUNKS + i * ROWS_AT_ONCE];
      bits[i] = uvec4(0u);
      if (from >= 0 && count > 0) bits[i] = Words4(a.q + uint64_t((from + column) * 2)).v;
    }
    [[unroll]] for (int i = 0; i < QUERIES_OF_ITEM; i++) {
      put_chunk((id / WIDTH_CHUNKS + i * ROWS_AT_ONCE) * ROW_PITCH + column, bits[i]);
    }
  } else {
    [[dont_unroll]] for (int row = id / WIDTH_CHUNKS; row < ROWS; row += ROWS_AT_ONCE) {
      const int64_t from = query_at[row];
      uvec4 bits = uvec4(0u);
      if (from >= 0 && count > 0) bits = read_chunk(a.q + uint64_t((from + column) * 2), count, false);
      put_chunk(row * ROW_PITCH + column, bits);
    }
  }
  barrier();
  [[unroll]] for (int c = 0; c < WIDTH; c += 16) {
    coopMatLoad(queries[c / 16], tile_memory, uint(ROW_OF_WAVE * ROW_PITCH + c) / CHUNK, ROW_PITCH / CHUNK, BY_ROWS);
  }
  barrier();
}

// Means on their way to the tile.
uvec4 means_ahead[MEANS_OF_ITEM];

void fetch_means(Sequence s, int kv_head, int from, int to, int id) {
  const int column = id % WIDTH_CHUNKS * CHUNK;
  const int count = clamp(a.dim - column, 0, CHUNK);
  const bool aligned = (a.aligned & ALIGNED_MEANS) != 0;
  [[unroll]] for (int i = 0; i < MEANS_OF_ITEM; i++) {
    const int block = from + id / WIDTH_CHUNKS + i * ROWS_AT_ONCE;
    ivec2 place = ivec2(-1, 0);
    if (block < to) place = mean_at(s, block);
    means_ahead[i] = uvec4(0u);
    if (place.x >= 0 && count > 0) {
      const int64_t element = place.x * a.means_page_pitch + place.y * a.means_slot_pitch + kv_head * a.means_head_pitch;
      means_ahead[i] = read_chunk(a.means + uint64_t((element + column) * 2), count, aligned);
    }
  }
}

// Scores of a tile of means with the group's rows; the next tile sets out meanwhile. Ends behind a barrier.
void score_means(Sequence s, int kv_head, int from, int to, int id) {
  if (from == 0) fetch_means(s, kv_head, from, to, id);
  [[unroll]] for (int i = 0; i < MEANS_OF_ITEM; i++) {
    put_chunk((id / WIDTH_CHUNKS + i * ROWS_AT_ONCE) * ROW_PITCH + id % WIDTH_CHUNKS * CHUNK, means_ahead[i]);
  }
  if (from + KEYS < to) fetch_means(s, kv_head, from + KEYS, to, id);
  barrier();
  for (int first = MEANS_OF_WAVE; first < KEYS; first += MEANS_OF_WAVES) {
    UNIT_SUMS sums = UNIT_SUMS(0.0);
    [[unroll]] for (int c = 0; c < WIDTH; c += 16) {
      UNIT_B y;
      coopMatLoad(y, tile_memory, uint(first * ROW_PITCH + c) / CHUNK, ROW_PITCH / CHUNK, BY_COLUMNS);
      sums = coopMatMulAdd(queries[c / 16], y, sums);
    }
    coopMatStore(sums, tile_memory, uint(SCORES_AT + first * SCORE_PITCH + ROW_OF_WAVE) / 4, SCORE_PITCH / 4, BY_COLUMNS);
  }
  barrier();
}

#include "select.glsl"
