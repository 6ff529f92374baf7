// The arithmetic of the convolution, in F32.
#pragma once
#include "../common/rows.cuh"

namespace weft {

// Weights as packed by conv1d_pack: [W + 1][pitch] F32, tap by tap, then the bias (zeros if none).
template <int W, int V>
struct Taps {
  float w[W][V], bias[V];

  static __device__ __forceinline__ void loadRow(const float* p, float (&v)[V]) {
    if constexpr (V % 4 == 0) {
#pragma unroll
      for (int i = 0; i < V; i += 4) {
        float4 q = __ldg(reinterpret_cast<const float4*>(p + i));
        v[i] = q.x; v[i + 1] = q.y; v[i + 2] = q.z; v[i + 3] = q.w;
      }
    } else if constexpr (V == 2) {
      float2 q = __ldg(reinterpret_cast<const float2*>(p));
      v[0] = q.x; v[1] = q.y;
    } else {
#pragma unroll
      for (int i = 0; i < V; i++) v[i] = __ldg(p + i);
    }
  }

  __device__ __forceinline__ void load(const float* packed, i64 pitch, int channel) {
#pragma unroll
    for (int k = 0; k < W; k++) loadRow(packed + k * pitch + channel, w[k]);
    loadRow(packed + W * pitch + channel, bias);
  }
};

// bias + sum of w[k] * (window, newest)[k].
template <int W, int V>
__device__ __forceinline__ void convolve(const Taps<W, V>& taps, const float (&window)[W - 1][V], const float (&x)[V], float (&out)[V]) {
#pragma unroll
  for (int i = 0; i < V; i++) {
    float v = taps.bias[i];
#pragma unroll
    for (int k = 0; k < W - 1; k++) v = fmaf(taps.w[k][i], window[k][i], v);
    out[i] = fmaf(taps.w[W - 1][i], x[i], v);
  }
}

__device__ __forceinline__ float reciprocal(float x) {  // of normal numbers
#ifdef WEFT_HOST_EMULATION
  return 1.0f / x;
#else
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
#endif
}

__device__ __forceinline__ float exponential2(float x) {  // subnormal results become 0
#ifdef WEFT_HOST_EMULATION
  return exp2f(x);
#else
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
#endif
}

// sigmoid(v) and 1 - sigmoid(v), each to full relative precision: exp of what is never positive cannot overflow,
// and its square root's square underflows by itself, where ex2 would flush. No branch, so that rows interleave.
__device__ __forceinline__ void sigmoid(float v, float& s, float& rest) {
  float half = exponential2(-0.7213475204444817f * fabsf(v));  // exp(-|v| / 2)
  float e = half * half;
  float r = reciprocal(1.0f + e);
  float er = e * r;
  s = v >= 0 ? r : er;
  rest = v >= 0 ? er : r;
}

template <int V>
__device__ __forceinline__ void silu(float (&v)[V]) {
#pragma unroll
  for (int i = 0; i < V; i++) {
    float s, rest;
    sigmoid(v[i], s, rest);
    v[i] *= s;
  }
}

constexpr int kThreads = 128;  // of a block, at most

// Rows that a thread loads ahead: a multiple of W-1, so that in the unrolled loop the window's rows change their
// names instead of moving between registers.
__host__ __device__ constexpr int rowsAhead(int width, int least) { return (least + width - 2) / (width - 1) * (width - 1); }

// Appends x to a window.
template <int W, int V>
__device__ __forceinline__ void shift(float (&window)[W - 1][V], const float (&x)[V]) {
#pragma unroll
  for (int i = 0; i < V; i++) {
#pragma unroll
    for (int j = 0; j + 1 < W - 1; j++) window[j][i] = window[j + 1][i];
    window[W - 2][i] = x[i];
  }
}

}  // namespace weft
