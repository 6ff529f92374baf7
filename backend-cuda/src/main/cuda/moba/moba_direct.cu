// Entry points of paged attention without lists (direct.cuh):
//   moba_direct_T_dW, moba_direct_merge_T   T: bf16, f16, f32; W: the larger of D and Dv, rounded up
#include "direct.cuh"

using namespace weft;
using namespace weft::moba;

#define MOBA_DIRECT(NAME, E, W)                                                                                       \
  extern "C" __global__ void __launch_bounds__(kDirectThreads, 2) moba_direct_##NAME##_d##W(const __grid_constant__ ForwardArguments a) { \
    directPart<E, W>(a);                                                                                              \
  }
#define MOBA_DIRECT_TYPE(NAME, E)                                                                                     \
  MOBA_DIRECT(NAME, E, 64)                                                                                            \
  MOBA_DIRECT(NAME, E, 128)                                                                                           \
  MOBA_DIRECT(NAME, E, 256)                                                                                           \
  extern "C" __global__ void __launch_bounds__(kMergeThreads) moba_direct_merge_##NAME(const __grid_constant__ ForwardArguments a) { \
    directMerge<E>(a);                                                                                                \
  }
MOBA_DIRECT_TYPE(bf16, Bf16)
MOBA_DIRECT_TYPE(f16, F16)
MOBA_DIRECT_TYPE(f32, F32)
