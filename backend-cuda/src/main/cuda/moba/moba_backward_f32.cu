// MoBA backward of F32 (backward_f32.cuh), and the row statistics of every type.
#include "backward_f32.cuh"

using namespace weft;
using namespace weft::moba;

#define MOBA_BACKWARD_F32(NAME, DP, ROWS, SIDE)                                                                 \
  extern "C" __global__ void __launch_bounds__(BackwardF32<DP, ROWS, SIDE>::kThreads, 1)                        \
      moba_backward_f32_##NAME##_##DP(const __grid_constant__ BackwardArguments a) {                            \
    using Kernel = BackwardF32<DP, ROWS, SIDE>;                                                                 \
    extern __shared__ __align__(128) unsigned char shared[];                                                    \
    Kernel kernel(a, *reinterpret_cast<Kernel::Shared*>(shared));                                               \
    kernel.run();                                                                                               \
  }
#define MOBA_BACKWARD_F32_WIDTH(DP, ROWS)              \
  MOBA_BACKWARD_F32(keys, DP, ROWS, Side::kKeys)       \
  MOBA_BACKWARD_F32(list, DP, ROWS, Side::kList)       \
  MOBA_BACKWARD_F32(own, DP, ROWS, Side::kOwn)

MOBA_BACKWARD_F32_WIDTH(64, 32)
MOBA_BACKWARD_F32_WIDTH(128, 32)
MOBA_BACKWARD_F32_WIDTH(256, 16)

// ---- statistics ------------------------------------------------------------------------------------------------

struct StatsArguments {  // as MobaBackwardPass.java writes it
  Matrix out, dout;
  const float* lse;  // [T, H]
  const Home* homes;
  float2* stats;  // [T, H]
  i64 lsePitch;
  int tokens, heads, valueDim, vector;
};

namespace {
constexpr int kStatsThreads = 256, kStatsLanes = 8;  // threads of a row
constexpr float kLog2E = 1.4426950408889634f;

template <class E, int V>
__device__ __forceinline__ float dot(const StatsArguments& a, i64 token, int head, int lane) {
  float sum = 0;
  i64 out = token * a.out.tokenPitch + head * a.out.headPitch, dout = token * a.dout.tokenPitch + head * a.dout.headPitch;
  for (int i = lane * V; i < a.valueDim; i += kStatsLanes * V) {
    Row<E, V> x, y;
    x.template load<true>(a.out.base, out + i, 0);
    y.template load<true>(a.dout.base, dout + i, 0);
    float xs[V], ys[V];
    x.widen(xs, 0);
    y.widen(ys, 0);
#pragma unroll
    for (int j = 0; j < V; j++) sum = fmaf(xs[j], ys[j], sum);
  }
  return sum;
}

template <class E>
__device__ __forceinline__ void stats(const StatsArguments& a) {
  i64 row = (static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x) / kStatsLanes;
  int lane = threadIdx.x % kStatsLanes, head = static_cast<int>(row % a.heads);
  i64 token = row / a.heads;
  bool live = token < a.tokens && a.homes[token].own >= 0;
  float sum = 0;
  if (live) sum = a.vector ? dot<E, 16 / E::kBytes>(a, token, head, lane) : dot<E, 1>(a, token, head, lane);
#pragma unroll
  for (int d = 1; d < kStatsLanes; d <<= 1) sum += __shfl_xor_sync(~0u, sum, d);
  if (live && lane == 0) a.stats[row] = make_float2(__ldg(a.lse + token * a.lsePitch + head) * kLog2E, sum);
}
}  // namespace

#define MOBA_STATS(NAME, E)                                                                              \
  extern "C" __global__ void __launch_bounds__(kStatsThreads) moba_backward_stats_##NAME(                \
      const __grid_constant__ StatsArguments a) {                                                        \
    stats<E>(a);                                                                                         \
  }
MOBA_STATS(f32, F32)
MOBA_STATS(f16, F16)
MOBA_STATS(bf16, Bf16)
