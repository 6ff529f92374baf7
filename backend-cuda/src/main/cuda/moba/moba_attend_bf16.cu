// Entry points of attention for BF16 (attend.cuh):
//   moba_{listed,own}_bf16_dW   W: the larger of D and Dv, rounded up
// Tile shapes: attend_entries.cuh.
#include "attend_entries.cuh"

MOBA_ATTEND(bf16, Bf16)
