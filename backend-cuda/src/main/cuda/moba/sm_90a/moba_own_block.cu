// Entry points of the Hopper kernels for the own block and the merge; HopperForward.java names them.
#include "own_block.cuh"

using namespace weft;
using namespace weft::moba;

#define OWN(NAME, E, D, RESIDENT)                                                                                \
  extern "C" __global__ void __launch_bounds__(128, RESIDENT) moba_own_block_##NAME(                             \
      const __grid_constant__ OwnArguments a) {                                                                  \
    extern __shared__ __align__(1024) char operands[];                                                           \
    OwnBlock<E, D> kernel{a, operands, hopper::shared_address(operands)};                                        \
    kernel.run();                                                                                                \
  }

OWN(bf16_d128, Bf16, 128, 3)
OWN(bf16_d64, Bf16, 64, 4)
OWN(f16_d128, F16, 128, 3)
OWN(f16_d64, F16, 64, 4)
