// Entry points of selection for BF16 (select.cuh):
//   moba_select_bf16_dW_kK   W: D rounded up; K: most selected blocks of a row, any: as many as there are
#include "select_entries.cuh"

MOBA_SELECT(bf16, Bf16)
