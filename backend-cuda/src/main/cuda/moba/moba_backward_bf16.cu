// MoBA backward of BF16: backward_mma.cuh.
#include "backward_mma.cuh"

using weft::Bf16;

MOBA_BACKWARD_TYPE(bf16, Bf16)
