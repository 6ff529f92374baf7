#version 460
// Selection of MoBA's blocks: scores q . mean of past blocks, and the slots best of every row.
//
//   moba_select_few  at most FEW of them
//   moba_select_any  any number
//
// A group meets the means of its rows' past blocks with ROWS rows of one sequence, KEYS at a time; a wave has tiles of
// SM x SN scores, which pass through shared memory to the work-items of each row. Other constants: rows.glsl.
//
// A candidate is 64 bits: the score, mapped so that integers compare like floats, then the block's complement, so that
// ties go to the lower block. 0 is none; minus infinity and NaN are the least that there is.
//
// Up to FEW selected blocks, each work-item of a row keeps the best of its share of the columns in registers, and one
// of them joins what they have at the end. For more, one work-item of a row keeps a heap in device memory.
#include "batch.glsl"

#include "select_arguments.glsl"
TAKES_ARGUMENTS;

// The best of each work-item take the place of queries at the end.
#define FEW 8
#define MORE_QUERIES (2 * FEW * GROUP)
#include "sequences.glsl"
#include "rows.glsl"

#define SCORE_AT(row, i) scores[(row) * SCORE_PITCH + (i)]
#define PUT_SCORE(row, i, v) scores[(row) * SCORE_PITCH + (i)] = v
#define BEST_AT(i) queries[i]
#define PUT_BEST(i, v) queries[i] = v

// Rows of q as load_queries has them.
void load_rows(int id) { load_queries(a.q, a.dim, (a.aligned & ALIGNED_Q) != 0, id); }

// Scores of a tile of means with the group's rows. Ends behind a barrier.
void score_means(Sequence s, int kv_head, int from, int to, int id) {
  int depth = padded(a.dim, 16);
  uint chunks = uint(depth / CHUNK);
  for (int i = id; i < KEYS * int(chunks); i += GROUP) {
    int row = int(uint(i) / chunks), column = int(uint(i) % chunks) * CHUNK;
    uint64_t where = 0ul;
    if (from + row < to) {
      ivec2 place = mean_at(s, from + row);
      if (place.x >= 0) {
        where = place_in(a.means, place.x * a.means_page_pitch + place.y * a.means_slot_pitch +
                                      kv_head * a.means_head_pitch);
      }
    }
    uvec4 bits = load_chunk(where, column, a.dim, (a.aligned & ALIGNED_MEANS) != 0);
    PUT_CHUNK(keys, row * ROW_PITCH + column, bits);
  }
  barrier();
  score(depth, 1.0, id);
  barrier();
}

#include "select.glsl"
