// The first members of the arguments of every kernel that knows of sequences, and the types of tables. The functions are
// in sequences.glsl, which a kernel includes behind its arguments.
//
// Rows: row r of a sequence is query head r % group of a key-value head at the sequence's token r / group, so that the
// heads of a group share tiles. Positions: of packed sequences, the row in k and v; of the cache, the position within
// its sequence.
//
// Block numbers count over a batch. Packed: sequence s begins at number start / block_size + s, which needs no scan
// over sequences and leaves room for all its blocks. Cache: at s * blocks_per_sequence. A number that no block has is
// an empty block.
#ifndef WEFT_MOBA_BATCH
#define WEFT_MOBA_BATCH

#include "../common/types.glsl"

// Tiles of plain kernels hold floats, whatever the storage type: so it is a specialisation constant there.
#ifndef MATRIX
#undef TYPE
layout(constant_id = 0) const int TYPE = TYPE_F32;
#endif
const int TYPE_BYTES = TYPE == TYPE_F32 ? 4 : 2;

// Packed: no cache_lens, no page_table, page_size 1.
#define BATCH_ARGUMENTS      \
  READS(cu);                 \
  READS(cache_lens);         \
  READS(page_table);         \
  int64_t page_table_pitch;  \
  int tokens;                \
  int sequences;             \
  int group;                 \
  int block_size;            \
  int page_size;             \
  int pages;                 \
  int page_columns;          \
  int blocks_per_sequence

#define MINUS_INFINITY uintBitsToFloat(0xff800000u)

// A token's own block x, or -1 (padding), and the first block y of its sequence: an element of the table of tokens.
#define Home ivec2
// An element of the table of blocks: positions [x, y), number of the sequence's first block z, sequence w.
#define Block ivec4

// Which tensors have rows that start at multiples of 16 bytes.
#define ALIGNED_Q 1
#define ALIGNED_K 2
#define ALIGNED_V 4
#define ALIGNED_MEANS 8
#define ALIGNED_OUT 16
#define ALIGNED_DOUT 32
#define ALIGNED_DK 64
#define ALIGNED_DV 128

#define local_id() int(gl_LocalInvocationID.x)

// i / n of what is not negative. 64-bit division takes GPUs some hundred instructions; nearly all that kernels divide has
// 32 bits.
int64_t quotient(int64_t i, int64_t n) {
  int64_t q;
  if ((uint(uint64_t(i) >> 32) | uint(uint64_t(n) >> 32)) == 0u) {
    q = int64_t(uint(i) / uint(n));
  } else {
    q = i / n;
  }
  return q;
}

uint load_uint(uint64_t p, int64_t i) { return Word(at(p, i, 4)).v; }
void store_uint(uint64_t p, int64_t i, uint v) { Word(at(p, i, 4)).v = v; }
void store_int(uint64_t p, int64_t i, int v) { Word(at(p, i, 4)).v = uint(v); }
ivec2 load_int2(uint64_t p, int64_t i) { return ivec2(Words2(at(p, i, 8)).v); }
vec2 load_float2(uint64_t p, int64_t i) { return Floats2(at(p, i, 8)).v; }
void store_float2(uint64_t p, int64_t i, vec2 v) { Floats2(at(p, i, 8)).v = v; }
ivec4 load_int4(uint64_t p, int64_t i) { return ivec4(Words4(at(p, i, 16)).v); }

// GLSL's own functions may be wrong of NaN and infinity.
bool is_nan(float v) { return (floatBitsToUint(v) & 0x7fffffffu) > 0x7f800000u; }
bool is_finite(float v) { return (floatBitsToUint(v) & 0x7f800000u) != 0x7f800000u; }
float larger(float x, float y) { return y > x ? y : x; }  // x where y is NaN

// Eight columns of a row.
struct Eight { vec4 lo, hi; };

vec4 load_four(uint64_t p, int64_t i) {
  vec4 v;
  if (TYPE == TYPE_F32) {
    v = Floats4(at(p, i, 4)).v;
  } else {
    v = widen4(Words2(at(p, i, 2)).v, TYPE);
  }
  return v;
}
Eight load_eight(uint64_t p, int64_t i) {
  Eight v;
  if (TYPE == TYPE_F32) {
    v.lo = Floats4(at(p, i, 4)).v;
    v.hi = Floats4(at(p, i + 4, 4)).v;
  } else {
    uvec4 bits = Words4(at(p, i, 2)).v;
    v.lo = widen4(bits.xy, TYPE);
    v.hi = widen4(bits.zw, TYPE);
  }
  return v;
}
void store_four(uint64_t p, int64_t i, vec4 v) {
  if (TYPE == TYPE_F32) {
    Floats4(at(p, i, 4)).v = v;
  } else {
    Words2(at(p, i, 2)).v = narrow4(v, TYPE);
  }
}
void store_eight(uint64_t p, int64_t i, Eight v) {
  if (TYPE == TYPE_F32) {
    Floats4(at(p, i, 4)).v = v.lo;
    Floats4(at(p, i + 4, 4)).v = v.hi;
  } else {
    Words4(at(p, i, 2)).v = uvec4(narrow4(v.lo, TYPE), narrow4(v.hi, TYPE));
  }
}
float column_of(Eight v, int c) { return c < 4 ? v.lo[c] : v.hi[c - 4]; }

#endif
