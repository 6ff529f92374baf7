// The functions of one shape of wave tile. Included once for each shape, after matrix.glsl (which includes it for WM x WN);
// no guard, on purpose:
//
//   #define TILE_M 64
//   #define TILE_N 32
//   #define TILE(name) score_##name
//   #include "../common/tile.glsl"
//
// declares score_tile, score_clear, score_multiply, score_multiply_kn, score_multiply_km, score_row and score_col, as
// matrix.glsl describes them for wave_, and score_sums, the constant TILE_M TILE_N / WAVE.
#if UNITS == 0
#include "tile_plain.glsl"
#else
#include "tile_units.glsl"
#endif
#undef TILE
#undef TILE_M
#undef TILE_N
