// Tiles of rows in shared memory, as product.glsl multiplies them: how they are filled from packed rows or the cache.
// Included behind the arguments.
//
// A program says how large its tiles are:
//   WIDTH        columns of a tile of queries, keys or values: a multiple of 64
//   ROWS, KEYS   rows of a tile of queries; of keys or values
//   WAVES, WAVE  waves of a group and work-items of a wave; GROUP work-items in all
#ifndef WEFT_MOBA_ROWS
#define WEFT_MOBA_ROWS

#define GROUP (WAVES * WAVE)
layout(local_size_x = GROUP) in;

// Others that recipes give.
layout(constant_id = 1) const int ROLLED = 0;
layout(constant_id = 2) const int MATRIX = 0;

// Columns that travel together, and from one row of a tile to the next.
#define CHUNK 4
#define PITCH(n) ((n) + CHUNK)
#define ROW_PITCH PITCH(WIDTH)
#define CHUNKS (WIDTH / CHUNK)

uint64_t place_in(uint64_t base, int64_t element) { return base + uint64_t(element * TYPE_BYTES); }

// Columns [column, column + CHUNK) of a row of `width` as bits of floats; zeros beyond it, and for no row (0).
uvec4 load_chunk(uint64_t row, int column, int width, bool aligned) {
  uvec4 bits = uvec4(0u);
  if (row != 0ul && column < width) {
    if (aligned && column + CHUNK <= width) {
      if (TYPE == TYPE_F32) {
        bits = Words4(at(row, column, 4)).v;
      } else {
        bits = floatBitsToUint(widen4(Words2(at(row, column, 2)).v, TYPE));
      }
    } else {
      [[dont_unroll]] for (int c = 0; c < CHUNK; c++) {
        if (column + c < width) bits[c] = floatBitsToUint(LOAD(row, column + c));
      }
    }
  }
  return bits;
}
#define PUT_CHUNK(tile, where, bits) \
  {                                  \
    tile[where] = bits.x;            \
    tile[where + 1] = bits.y;        \
    tile[where + 2] = bits.z;        \
    tile[where + 3] = bits.w;        \
  }

// The reverse: bits of floats to columns of a row, those beyond its width left out.
void store_chunk(uint64_t row, int column, int width, bool aligned, uvec4 bits) {
  if (aligned && column + CHUNK <= width) {
    store_four(row, column, uintBitsToFloat(bits));
  } else {
    [[dont_unroll]] for (int c = 0; c < CHUNK; c++) {
      if (column + c < width) STORE(row, column + c, uintBitsToFloat(bits[c]));
    }
  }
}

// Whether none of four values, given as bits, is infinite or NaN.
bool are_finite(uvec4 bits) { return all(notEqual(bits & 0x7f800000u, uvec4(0x7f800000u))); }

// Columns [0, width) rounded up to a multiple of `multiple` are loaded: those that products touch.
int padded(int width, int multiple) { return (width + multiple - 1) / multiple * multiple; }

#ifdef ROWS
#ifndef MORE_QUERIES
#define MORE_QUERIES 0
#endif
const int QUERIES = max(ROWS * ROW_PITCH, MORE_QUERIES);
shared uint queries[QUERIES];
shared uint keys[KEYS * ROW_PITCH];
shared float scores[ROWS * (KEYS + 1)];
shared int64_t query_at[ROWS];

#define SCORE_PITCH (KEYS + 1)
#define SCORE_ROWS (ROWS / SM)
#define SCORE_TILES (SCORE_ROWS * (KEYS / SN))
// GROUP / ROWS work-items share a row of scores.
#define SEGMENTS (GROUP / ROWS)
#define SEGMENT (KEYS / SEGMENTS)

float score_sum[SM * SN / WAVE];
#define PRODUCT(name) score_##name
#define TILE_M SM
#define TILE_N SN
#define SUMS score_sum
#define A queries
#define A_PITCH ROW_PITCH
#define B keys
#define B_PITCH ROW_PITCH
#define FORM 0
#include "product.glsl"

// Fills the tile of queries with rows of q; row i lies at query_at[i], or is absent where that is negative.
void load_queries(uint64_t q, int dim, bool aligned, int id) {
  uint chunks = uint(padded(dim, 16) / CHUNK);
  for (int i = id; i < ROWS * int(chunks); i += GROUP) {
    int row = int(uint(i) / chunks), column = int(uint(i) % chunks) * CHUNK;
    int64_t from = query_at[row];
    uvec4 bits = load_chunk(from < 0 ? 0ul : place_in(q, from), column, dim, aligned);
    PUT_CHUNK(queries, row * ROW_PITCH + column, bits);
  }
}

// Scores of all queries with all keys of the tiles, times `factor`.
void score(int depth, float factor, int id) {
  for (int tile = id / WAVE; tile < SCORE_TILES; tile += WAVES) {
    int first_row = tile % SCORE_ROWS * SM, first_key = tile / SCORE_ROWS * SN;
    [[unroll]] for (int e = 0; e < score_sums; e++) score_sum[e] = 0.0;
    score_multiply(0, first_row * ROW_PITCH, first_key * ROW_PITCH, depth);
    [[unroll]] for (int e = 0; e < score_sums; e++) {
      scores[(first_row + score_row(e)) * SCORE_PITCH + first_key + score_col(e)] = score_sum[e] * factor;
    }
  }
}
#endif

#endif
