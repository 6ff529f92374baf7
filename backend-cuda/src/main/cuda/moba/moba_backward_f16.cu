// MoBA backward of F16: backward_mma.cuh.
#include "backward_mma.cuh"

using weft::F16;

MOBA_BACKWARD_TYPE(f16, F16)
