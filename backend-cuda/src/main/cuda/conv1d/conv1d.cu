// The entry points of causal conv1d. Conv1dVariants.java names them and picks one for a launch.
//
//   conv1d_{forward,update,backward}_ELEMENT_wW_vV, conv1d_forward_steps_ELEMENT_wW_vV
//     ELEMENT  type of x, out and states; `any` takes each type as a launch parameter
//     W        number of taps
//     V        channels per thread
#include "../common/overlap.cuh"
#include "backward.cuh"
#include "forward.cuh"
#include "update.cuh"

using namespace weft;

namespace {
// Blocks that a multiprocessor must be able to hold, so that their loads cover memory's latency: bounds the
// registers of a vector variant to 128 and 168.
constexpr int kForwardBlocks = 4, kUpdateBlocks = 4, kBackwardBlocks = 3;

constexpr int resident(int vector, int blocks) { return vector > 1 ? blocks : 1; }
}

#define FORWARD(NAME, E, W, V)                                                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads, resident(V, kForwardBlocks)) conv1d_forward_##NAME##_w##W##_v##V(                    \
      const __grid_constant__ ForwardArguments a) {                                                              \
    Forward<E, W, V, false> kernel{a};                                                                           \
    kernel.run();                                                                                                \
  }
#define UPDATE(NAME, E, W, V)                                                                                    \
  extern "C" __global__ void __launch_bounds__(kThreads, resident(V, kUpdateBlocks)) conv1d_update_##NAME##_w##W##_v##V(                     \
      const __grid_constant__ UpdateArguments a) {                                                               \
    Update<E, W, V> kernel{a};                                                                                   \
    kernel.run();                                                                                                \
  }
#define STEPS(NAME, E, W, V)                                                                                     \
  extern "C" __global__ void __launch_bounds__(kThreads, kForwardBlocks) conv1d_forward_steps_##NAME##_w##W##_v##V(                          \
      const __grid_constant__ ForwardArguments a) {                                                              \
    Forward<E, W, V, true> kernel{a};                                                                            \
    kernel.run();                                                                                                \
  }
#define BACKWARD(NAME, E, W, V)                                                                                  \
  extern "C" __global__ void __launch_bounds__(kThreads, resident(V, kBackwardBlocks)) conv1d_backward_##NAME##_w##W##_v##V(                   \
      const __grid_constant__ BackwardArguments a) {                                                             \
    allow_successor();                                                                                           \
    Backward<E, W, V> kernel{a};                                                                                 \
    kernel.run();                                                                                                \
  }

// Any types, any alignment, every width.
#define WIDTHS(KERNEL) \
  KERNEL(any, Any, 2, 1) KERNEL(any, Any, 3, 1) KERNEL(any, Any, 4, 1) KERNEL(any, Any, 5, 1) \
  KERNEL(any, Any, 6, 1) KERNEL(any, Any, 7, 1) KERNEL(any, Any, 8, 1)
WIDTHS(FORWARD)
WIDTHS(UPDATE)
WIDTHS(BACKWARD)

// One type throughout, 16-byte rows.
#define WIDE(KERNEL)                                                              \
  KERNEL(bf16, Bf16, 2, 8) KERNEL(bf16, Bf16, 3, 8) KERNEL(bf16, Bf16, 4, 8)      \
  KERNEL(f16, F16, 4, 8) KERNEL(f32, F32, 4, 4)
WIDE(FORWARD)
WIDE(UPDATE)

// The same, for batches that decode.
STEPS(bf16, Bf16, 4, 8) STEPS(f16, F16, 4, 8) STEPS(f32, F32, 4, 4)

// Pitches that are not multiples of 16 bytes.
#define NARROW(KERNEL)                                            \
  KERNEL(bf16, Bf16, 4, 4) KERNEL(bf16, Bf16, 4, 2) KERNEL(f16, F16, 4, 2)
NARROW(FORWARD)

// Eight channels (of F32: four) would not fit the registers.
BACKWARD(bf16, Bf16, 4, 4)
BACKWARD(f16, F16, 4, 4)
BACKWARD(f32, F32, 4, 2)

// ---- weights -------------------------------------------------------------------------------------------------

struct PackArguments {  // as Conv1dArguments.java writes it
  const void* weight;   // [C, W]
  const void* bias;     // [C], or null
  float* packed;        // [W + 1, packedPitch]
  i64 weightPitch, packedPitch;
  int channels, width, type;
};

// One thread for each channel of the padded pitch.
extern "C" __global__ void __launch_bounds__(kThreads) conv1d_pack(const __grid_constant__ PackArguments a) {
  i64 c = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= a.packedPitch) return;
  bool real = c < a.channels;
  for (int k = 0; k < a.width; k++) {
    Row<Any, 1> row;
    row.zero();
    if (real) row.load<true>(a.weight, c * a.weightPitch + k, a.type);
    a.packed[k * a.packedPitch + c] = Any::widen(row.w[0], a.type);
  }
  Row<Any, 1> row;
  row.zero();
  if (real && a.bias) row.load<true>(a.bias, c, a.type);
  a.packed[a.width * a.packedPitch + c] = Any::widen(row.w[0], a.type);
}

// ---- parameter gradients ---------------------------------------------------------------------------------------

struct ReduceArguments {  // as Conv1dArguments.java writes it
  const float* partial;   // [tiles, width + 1, pitch]
  void* dweight;          // [C, W], or null
  void* dbias;            // [C], or null
  i64 pitch, dweightPitch;
  int tiles, width, channels, columns, type, accumulate;
};

// Four threads for each gradient: each adds a quarter of the tiles in ascending order, then they add up, always in the same
// way. A warp has eight channels, so that its loads are of whole sectors. Launched to overlap the pass that writes the
// tiles; fewer loads one after another than with a thread for each, and less code, which comes from memory too.
extern "C" __global__ void __launch_bounds__(kThreads) conv1d_reduce(const __grid_constant__ ReduceArguments a) {
  constexpr int kParts = 4, kChannels = 32 / kParts, kAtOnce = 6;  // loads on their way together
  int part = threadIdx.x % 32 / kChannels, warp = threadIdx.x / 32;
  int k = blockIdx.x / a.columns, c = (blockIdx.x % a.columns) * (blockDim.x / kParts) + warp * kChannels + threadIdx.x % kChannels;
  bool weight = k < a.width, live = c < a.channels;
  void* target = weight ? a.dweight : a.dbias;
  if (!target) return;
  int each = (a.tiles + kParts - 1) / kParts, first = part * each, last = live ? min(first + each, a.tiles) : 0;
  const float* p = a.partial + k * a.pitch + c;
  i64 stride = (a.width + 1) * a.pitch;
  wait_for_predecessor();
  float sum = 0;
#pragma unroll 1
  for (int i = first; i < last; i += kAtOnce) {
    float v[kAtOnce];
#pragma unroll
    for (int u = 0; u < kAtOnce; u++) v[u] = i + u < last ? p[(i + u) * stride] : 0;
#pragma unroll
    for (int u = 0; u < kAtOnce; u++) sum += v[u];
  }
#pragma unroll
  for (int lanes = kChannels; lanes < 32; lanes *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lanes);
  if (part > 0 || !live) return;
  i64 at = weight ? c * a.dweightPitch + k : c;
  Row<Any, 1> row;
  if (a.accumulate) {
    row.load<false>(target, at, a.type);
    sum += Any::widen(row.w[0], a.type);
  }
  row.w[0] = Any::narrow(sum, a.type);
  row.store(target, at, a.type);
}
