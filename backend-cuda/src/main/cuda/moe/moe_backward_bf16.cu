// Backward of experts whose activations and weights are all Bf16: products on tensor cores.
#include "backward.cuh"

using namespace weft;
using namespace weft::moe_backward;

namespace {
template <bool kAByK, bool kBByK>
using Product = TensorTile<Bf16, kAByK, kBByK>;
}

MOE_BACKWARD_KERNELS(bf16, Product, 2)
