// MoBA backward of F16 and BF16 on Hopper: backward_wgmma.cuh.
#include "backward_keys.cuh"
#include "backward_merge.cuh"
#include "backward_rows.cuh"

using namespace weft;
using namespace weft::moba;

// Last comes the struct that is the kernel.
#define MOBA_BACKWARD_WGMMA(NAME, DP, ...)                                                                     \
  extern "C" __global__ void __launch_bounds__(__VA_ARGS__::kThreads, 1)                                       \
      moba_backward_wgmma_##NAME##_##DP(const __grid_constant__ BackwardArguments a) {                         \
    using Kernel = __VA_ARGS__;                                                                                \
    extern __shared__ __align__(1024) unsigned char shared[];                                                  \
    Kernel kernel(a, *reinterpret_cast<Kernel::Shared*>(shared));                                              \
    kernel.run();                                                                                              \
  }
#define MOBA_BACKWARD_WGMMA_WIDTH(NAME, E, DP)                                     \
  MOBA_BACKWARD_WGMMA(NAME##_keys, DP, BackwardKeys<E, DP>)                        \
  MOBA_BACKWARD_WGMMA(NAME##_list, DP, BackwardRows<E, DP, Side::kList>)           \
  MOBA_BACKWARD_WGMMA(NAME##_own, DP, BackwardRows<E, DP, Side::kOwn>)

#define MOBA_BACKWARD_MERGE(NAME, E)                                                                           \
  extern "C" __global__ void __launch_bounds__(kMergeThreads) moba_backward_wgmma_##NAME##_merge(              \
      const __grid_constant__ BackwardArguments a) {                                                           \
    merge<E>(a);                                                                                               \
  }

MOBA_BACKWARD_MERGE(bf16, Bf16)
MOBA_BACKWARD_MERGE(f16, F16)
MOBA_BACKWARD_WGMMA_WIDTH(bf16, Bf16, 64)
MOBA_BACKWARD_WGMMA_WIDTH(bf16, Bf16, 128)
MOBA_BACKWARD_WGMMA_WIDTH(f16, F16, 64)
MOBA_BACKWARD_WGMMA_WIDTH(f16, F16, 128)
