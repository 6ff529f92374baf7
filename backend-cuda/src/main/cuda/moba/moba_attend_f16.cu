// Entry points of attention for F16 (attend.cuh):
//   moba_{listed,own}_f16_dW   W: the larger of D and Dv, rounded up
// Tile shapes: attend_entries.cuh.
#include "attend_entries.cuh"

MOBA_ATTEND(f16, F16)
