// Backward of experts of F32, or of activations and weights of different types: products in F32.
#include "backward.cuh"

using namespace weft;
using namespace weft::moe_backward;

MOE_BACKWARD_KERNELS(any, FloatTile, 1)
