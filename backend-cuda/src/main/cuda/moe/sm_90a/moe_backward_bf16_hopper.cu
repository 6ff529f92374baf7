// Backward of experts whose activations and weights are all Bf16, on Hopper: products of warpgroups.
#include "../backward.cuh"
#include "backward_warpgroup_tile.cuh"

using namespace weft;
using namespace weft::moe_backward;

namespace {
template <bool kAByK, bool kBByK>
using Product = WarpgroupTile<Bf16, kAByK, kBByK>;
}

MOE_BACKWARD_KERNELS(bf16_hopper, Product, 1)
