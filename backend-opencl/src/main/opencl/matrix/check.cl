// One wave tile of known values, by which a tier of matrix.clh is proved on the device before any kernel uses it
// (and by which the tests prove every tier that they can run). One group of one wave.
//
// Constants: TYPE, MATRIX, WAVE, WM, WN.
#ifndef WM
#define WM 32
#define WN 32
#endif
#include "../common/matrix.clh"
#define DEPTH 64

// form 0: a is [WM][DEPTH], b is [WN][DEPTH];  1: b is [DEPTH][WN];  2: a is [DEPTH][WM] as well.
// out [WM][WN] = tile + A B^T, in F32; tile, in F32, is what the sums begin with.
__kernel __attribute__((reqd_work_group_size(WAVE, 1, 1)))
void multiply(READS(a), READS(b), READS(tile), WRITES(out), const int form) {
  __local ELEMENT a_tile[WM * PITCH(DEPTH) + DEPTH * PITCH(WM)] __attribute__((aligned(16)));
  __local ELEMENT b_tile[WN * PITCH(DEPTH) + DEPTH * PITCH(WN)] __attribute__((aligned(16)));
  const int lane = (int)get_local_id(0);
  const int a_columns = form == 2 ? WM : DEPTH;
  const int b_columns = form == 0 ? DEPTH : WN;
  for (int i = lane; i < WM * DEPTH; i += WAVE) {
    a_tile[i / a_columns * PITCH(a_columns) + i % a_columns] = CONST_AT(ELEMENT, a)[i];
  }
  for (int i = lane; i < WN * DEPTH; i += WAVE) {
    b_tile[i / b_columns * PITCH(b_columns) + i % b_columns] = CONST_AT(ELEMENT, b)[i];
  }
  float acc[ACC];
#pragma unroll
  for (int e = 0; e < ACC; ++e) {
    acc[e] = CONST_AT(float, tile)[tile_row(e, lane) * WN + tile_col(e, lane)];
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  if (form == 0) {
    wave_multiply(acc, a_tile, PITCH(DEPTH), b_tile, PITCH(DEPTH), DEPTH, lane);
  } else if (form == 1) {
    wave_multiply_kn(acc, a_tile, PITCH(DEPTH), b_tile, PITCH(WN), DEPTH, lane);
  } else {
    wave_multiply_km(acc, a_tile, PITCH(WM), b_tile, PITCH(WN), DEPTH, lane);
  }
#pragma unroll
  for (int e = 0; e < ACC; ++e) {
    AT(float, out)[tile_row(e, lane) * WN + tile_col(e, lane)] = acc[e];
  }
}
