// The entry points of experts on Hopper. HopperExperts.java names them, HopperTile.java has the same shapes and picks
// one for a launch.
//
//   moe_hopper_both_ELEMENT_SHAPE             both projections of gated experts, where reading weights takes the time
//   moe_hopper_{project,down}_ELEMENT_SHAPE   project: gate and up with their activation; down: one product, which is
//                                             also the first projection where the activation has no gate (RELU2)
//   moe_hopper_sort_rows                      rows of x in sorted order, for projections that do not gather
#include "expert_gemm.cuh"
#include "expert_stream.cuh"

using namespace weft;
using namespace weft::experts;

extern __shared__ __align__(1024) unsigned char sharedMemory[];

#define EXPERTS(NAME, E, GATED, DENSE, TEXT, SHAPE)                                                                \
  extern "C" __global__ void __launch_bounds__(kThreads, SHAPE::kResident)                                         \
      moe_hopper_##NAME##_##TEXT(const __grid_constant__ Arguments a) {                                            \
    ExpertGemm<E, SHAPE, GATED, DENSE> gemm{                                                                       \
        a, shared_address(sharedMemory), reinterpret_cast<int*>(sharedMemory + SHAPE::kTilesAt)};                  \
    gemm.run();                                                                                                    \
  }
#define GATHERED(ELEMENT, E, TEXT, SHAPE)                    \
  EXPERTS(project_##ELEMENT, E, true, false, TEXT, SHAPE)    \
  EXPERTS(down_##ELEMENT, E, false, true, TEXT, SHAPE)
#define STREAMED(ELEMENT, E, TEXT, SHAPE)                                                                          \
  extern "C" __global__ void __launch_bounds__(kThreads, 1)                                                        \
      moe_hopper_both_##ELEMENT##_##TEXT(const __grid_constant__ StreamArguments a) {                              \
    uint32_t shared = shared_address(sharedMemory);                                                                \
    ExpertStream<E, SHAPE> stream{a, {a.project, shared, nullptr}, {a.down, shared, nullptr}, sharedMemory};       \
    stream.run();                                                                                                  \
  }                                                                                                                \
  EXPERTS(down_##ELEMENT, E, false, true, TEXT, SHAPE)
#define DENSE(ELEMENT, E, TEXT, SHAPE)                       \
  EXPERTS(project_##ELEMENT, E, true, true, TEXT, SHAPE)

using Split16 = Shape<1, 16, 4, 5, true>;
using Few32 = Shape<1, 32, 2, 5>;
using Few48 = Shape<1, 48, 2, 4>;
using Wide64 = Shape<2, 64, 1, 5>;
using Wide128 = Shape<2, 128, 1, 4>;
using Wide160 = Shape<2, 160, 1, 4>;

#define ALL(ELEMENT, E)                    \
  STREAMED(ELEMENT, E, split16, Split16)   \
  STREAMED(ELEMENT, E, few32, Few32)       \
  STREAMED(ELEMENT, E, few48, Few48)       \
  STREAMED(ELEMENT, E, wide64, Wide64)     \
  GATHERED(ELEMENT, E, wide128, Wide128)   \
  GATHERED(ELEMENT, E, wide160, Wide160)   \
  DENSE(ELEMENT, E, dense160, Wide160)
ALL(bf16, Bf16)
#ifndef WEFT_BF16_ONLY
ALL(f16, F16)
#endif

struct SortRowsArguments {  // as HopperExperts.java writes it
  const void* x;
  void* sorted;
  const int* permutation;
  const int* offsets;
  i64 xPitch;
  i64 sortedPitch;
  int experts;
  int topK;
  int hidden;
};

// A block copies row after row, 16 bytes a thread.
extern "C" __global__ void __launch_bounds__(256) moe_hopper_sort_rows(const __grid_constant__ SortRowsArguments a) {
  int rows = __ldg(a.offsets + a.experts);
  for (int p = blockIdx.x; p < rows; p += gridDim.x) {
    const uint4* from = reinterpret_cast<const uint4*>(
        static_cast<const unsigned short*>(a.x) + (__ldg(a.permutation + p) / a.topK) * a.xPitch);
    uint4* to = reinterpret_cast<uint4*>(static_cast<unsigned short*>(a.sorted) + p * a.sortedPitch);
    for (int c = threadIdx.x; c < a.hidden / 8; c += blockDim.x) to[c] = __ldg(from + c);
  }
}
