// Entry points of attention for F32 (attend.cuh):
//   moba_{listed,own}_f32_dW   W: the larger of D and Dv, rounded up
// Tile shapes: attend_entries.cuh.
#include "attend_entries.cuh"

MOBA_ATTEND(f32, F32)
