#version 460
// One wave tile of known values, by which a tier of matrix.glsl is proved on the device before any kernel uses it (and by
// which the tests prove every tier that they can run). One group of one wave.
//
// Constants: TYPE, MATRIX, WAVE, WM, WN.
#define DEPTH 64
#define A_ELEMENTS (WM * (DEPTH + 8) + DEPTH * (WM + 8))
#define B_ELEMENTS (WN * (DEPTH + 8) + DEPTH * (WN + 8))
#define TILE_CHUNKS CHUNKS_OF(A_ELEMENTS + B_ELEMENTS)
#include "../common/matrix.glsl"

layout(local_size_x = WAVE) in;

// form 0: a is [WM][DEPTH], b is [WN][DEPTH];  1: b is [DEPTH][WN];  2: a is [DEPTH][WM] as well.
// result [WM][WN] = tile + A B^T, in F32; tile, in F32, is what the sums begin with. NaN where sums are no pairs.
PUSHED_ARGUMENTS {
  READS(a);
  READS(b);
  READS(tile);
  WRITES(result);
  int form;
};
TAKES_ARGUMENTS;

void put_element(int place, uint64_t from, int i) {  // in pairs, i even
  const uint low = load_bits(from, i, TYPE), high = load_bits(from, i + 1, TYPE);
#if TYPE == TYPE_F32
  put_word(place, low);
  put_word(place + 1, high);
#else
  put_word(place >> 1, low | high << 16);
#endif
}

void main() {
  START_TILES();
  const int lane = int(gl_LocalInvocationID.x);
  const int form = a.form;
  const int a_columns = form == 2 ? WM : DEPTH;
  const int b_columns = form == 0 ? DEPTH : WN;
  for (int i = 2 * lane; i < WM * DEPTH; i += 2 * WAVE) {
    put_element(i / a_columns * PITCH(a_columns) + i % a_columns, a.a, i);
  }
  for (int i = 2 * lane; i < WN * DEPTH; i += 2 * WAVE) {
    put_element(A_ELEMENTS + i / b_columns * PITCH(b_columns) + i % b_columns, a.b, i);
  }
  wave_tile acc;
  wave_clear(acc);
  UNROLL for (int e = 0; e < wave_sums; e++) {
    SUM(acc, e) = load_float(a.tile, wave_row(e, lane) * WN + wave_col(e, lane));
  }
  barrier();
  if (form == 0) {
    wave_multiply(acc, 0, PITCH(DEPTH), A_ELEMENTS, PITCH(DEPTH), DEPTH, lane);
  } else if (form == 1) {
    wave_multiply_kn(acc, 0, PITCH(DEPTH), A_ELEMENTS, PITCH(WN), DEPTH, lane);
  } else {
    wave_multiply_km(acc, 0, PITCH(WM), A_ELEMENTS, PITCH(WN), DEPTH, lane);
  }
  UNROLL for (int e = 0; e < wave_sums; e++) {
    const int row = wave_row(e, lane), column = wave_col(e, lane), even = e / 2 * 2;
    const bool paired = wave_row(even, lane) == row && wave_col(even, lane) + e % 2 == column && column % 2 == e % 2;
    store_float(a.result, row * WN + column, paired ? SUM(acc, e) : uintBitsToFloat(0x7fc00000u));
  }
}
