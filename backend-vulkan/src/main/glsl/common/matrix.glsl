// Matrix products of waves: a wave (WAVE neighbouring work-items of the group) adds A B^T to a tile of float sums that it
// holds in registers; A and B lie in shared memory. The same calls compile to two tiers:
//
//   MATRIX 0   plain float arithmetic, on any device; a wave is no subgroup then, and nothing runs in step
//          5   cooperative matrices 16 x 16 x 16 of VK_KHR_cooperative_matrix (for BF16 with VK_KHR_shader_bfloat16); a wave
//              is a subgroup
//
// F32 is always plain: matrix units would round its inputs. Products of 16-bit values are exact in float; both tiers sum in
// float, in ascending k but for the order within a unit's 16.
//
// GLSL has no pointers, so tiles lie in one pool of shared memory, tile_memory, TILE_CHUNKS chunks of 16 bytes, and the
// place of one is the number of its first element in it. A program defines TILE_CHUNKS (CHUNKS_OF counts them), and WM and
// WN (multiples of 16), before it includes this, and has
//
//   START_TILES();                                                    first of all, by all work-items of the group
//   wave_tile acc;  wave_clear(acc);                                  wave_sums = WM WN / WAVE sums in each work-item
//   wave_multiply(acc, a, a_pitch, b, b_pitch, k, lane)               A is [WM][k], B is [WN][k]
//   wave_multiply_kn(acc, a, a_pitch, b, b_pitch, k, lane)            A is [WM][k], B is [k][WN]
//   wave_multiply_km(acc, a, a_pitch, b, b_pitch, k, lane)            A is [k][WM], B is [k][WN]
//   SUM(acc, e), wave_row(e, lane), wave_col(e, lane)                 a sum, and where it lies in the tile
//
// For tiles of more shapes it includes tile.glsl again, with other names (see there).
//   - All work-items of a wave make the call together; lane is gl_LocalInvocationID.x % WAVE, k a multiple of 16.
//   - a and b, and every row, start at multiples of CHUNK elements. PITCH(n) is the best pitch of rows of n elements, n a
//     multiple of 2 CHUNK: neighbouring rows then start in different banks.
//   - A work-item's sums come in pairs of neighbouring columns, SUM(acc, 2 i) the even one: two are stored at once, and must
//     be, as elements of 16 bits are no places of their own in the pool.
//   - Sums stay in registers only if every index is a constant: unroll (UNROLL) every loop over them.
//   - Nothing here waits for other work-items of the group: what others wrote needs a barrier before the call.
#ifndef WEFT_MATRIX
#define WEFT_MATRIX

#include "types.glsl"

#ifndef MATRIX
#define MATRIX 0
#endif
#ifndef WAVE
#define WAVE 32
#endif

// The tier of this program's type.
#if TYPE == TYPE_F32
#define UNITS 0
#else
#define UNITS MATRIX
#endif

// Loops over a work-item's sums.
#if ROLLED
#define UNROLL [[dont_unroll]]
#else
#define UNROLL [[unroll]]
#endif

#if TYPE == TYPE_F32
#define CHUNK 4  // elements in 16 bytes
#else
#define CHUNK 8
#endif
#define PITCH(n) ((n) + CHUNK)
#define CHUNKS_OF(elements) (((elements) + CHUNK - 1) / CHUNK)

// ---- the pool ----------------------------------------------------------------------------------------------------

shared uvec4 tile_memory[TILE_CHUNKS];

// As words of 32 bits, whatever the type.
uint word_at(int i) { return tile_memory[i >> 2][i & 3]; }
void put_word(int i, uint v) { tile_memory[i >> 2][i & 3] = v; }
float float_at(int i) { return uintBitsToFloat(word_at(i)); }
void put_float(int i, float v) { put_word(i, floatBitsToUint(v)); }
vec4 floats4_at(int i) { return uintBitsToFloat(tile_memory[i >> 2]); }  // i a multiple of 4
void put_floats4(int i, vec4 v) { tile_memory[i >> 2] = floatBitsToUint(v); }

// As elements of the program's type: one, or 2, 4, CHUNK neighbours from a multiple of as many on.
uint bits_at(int i) {
#if TYPE == TYPE_F32
  return word_at(i);
#else
  return (word_at(i >> 1) >> ((i & 1) * 16)) & 0xffffu;
#endif
}
float value_at(int i) { return widen(bits_at(i), TYPE); }
vec2 values2_at(int i) {
#if TYPE == TYPE_F32
  return (i & 2) == 0 ? uintBitsToFloat(tile_memory[i >> 2].xy) : uintBitsToFloat(tile_memory[i >> 2].zw);
#else
  return widen2(word_at(i >> 1), TYPE);
#endif
}
vec4 values4_at(int i) {
#if TYPE == TYPE_F32
  return floats4_at(i);
#else
  return widen4((i & 4) == 0 ? tile_memory[i >> 3].xy : tile_memory[i >> 3].zw, TYPE);
#endif
}
uvec4 chunk_at(int i) { return tile_memory[i / CHUNK]; }
void put_chunk(int i, uvec4 bits) { tile_memory[i / CHUNK] = bits; }
void put_values2(int i, vec2 v) {  // rounded
#if TYPE == TYPE_F32
  put_float(i, v.x);
  put_float(i + 1, v.y);
#else
  put_word(i >> 1, narrow2(v, TYPE));
#endif
}
void put_values4(int i, vec4 v) {
#if TYPE == TYPE_F32
  put_floats4(i, v);
#else
  put_word(i >> 1, narrow2(v.xy, TYPE));
  put_word((i >> 1) + 1, narrow2(v.zw, TYPE));
#endif
}

// ---- tiles -------------------------------------------------------------------------------------------------------

#if UNITS != 0
#include "units.glsl"
#define SUM(acc, e) acc.block[(e) / BLOCK_SUMS][(e) % BLOCK_SUMS]
#else
#define START_TILES()
#define SUM(acc, e) acc.sum[e]
#endif

#ifdef WM
#define TILE_M WM
#define TILE_N WN
#define TILE(name) wave_##name
#include "tile.glsl"
#endif

#endif
