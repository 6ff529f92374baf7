// Entry points of the Hopper kernels for past blocks; HopperForward.java names them.
#include "past_blocks.cuh"

using namespace weft;
using namespace weft::moba;

#define PAST(NAME, E, D, GROUPS, STAGES, SLOTS)                                                                  \
  extern "C" __global__ void __launch_bounds__(128 * (GROUPS + 1), 1)                                            \
      moba_past_blocks_##NAME(const __grid_constant__ PastArguments a) {                                         \
    extern __shared__ __align__(1024) char operands[];                                                            \
    PastBlocks<E, D, GROUPS, STAGES, SLOTS> kernel{                                                              \
        a, operands, hopper::shared_address(operands), {a.lists.tileCount(), static_cast<uint32_t>(a.run)}};         \
    kernel.run();                                                                                                \
  }

PAST(bf16_d128, Bf16, 128, 2, 2, 2)
PAST(bf16_d64, Bf16, 64, 2, 3, 3)
PAST(f16_d128, F16, 128, 2, 2, 2)
PAST(f16_d64, F16, 64, 2, 3, 3)
