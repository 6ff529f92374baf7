// Backward of experts whose activations and weights are all F16: products on tensor cores.
#include "backward.cuh"

using namespace weft;
using namespace weft::moe_backward;

namespace {
template <bool kAByK, bool kBByK>
using Product = TensorTile<F16, kAByK, kBByK>;
}

MOE_BACKWARD_KERNELS(f16, Product, 2)
