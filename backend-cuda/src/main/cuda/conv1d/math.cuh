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

  __device__ __forceinline__ void scale(float by) {
#pragma unroll
    for (int i = 0; i < V; i++) {
      bias[i] *= by;
#pragma unroll
      for (int k = 0; k < W; k++) w[k][i] *= by;
    }
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
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

__device__ __forceinline__ float exponential2(float x) {  // subnormal results become 0
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

// The activation. exp(-v) is computed times a power of two, so that the reciprocal of 1 + exp(-v) stays a normal number
// as long as silu(v) is one: it comes times 2^8. No branch, so that rows interleave.
constexpr float kScale = 0x1p-8f, kLog2E = 1.4426950408889634f;

// The derivative of silu, sigmoid(v) (1 + v (1 - sigmoid(v))), where 1 - sigmoid(v) = exp(-v) sigmoid(v) to full
// relative precision. The bound of the exponent keeps infinity times zero out; there sigmoid(v) is 0.
__device__ __forceinline__ float siluSlope(float v) {
  float e = exponential2(fminf(fmaf(v, -kLog2E, -16.0f), 127.0f));  // 2^-16 exp(-v)
  float r = reciprocal(fmaf(e, 256.0f, kScale));                    // 2^8 sigmoid(v)
  return r * fmaf(v, e * r, kScale);
}

// kScaled: of values that come times kScale, by taps that were scaled, which is exact but for subnormal ones.
template <int V, bool kScaled>
__device__ __forceinline__ void silu(float (&v)[V]) {
#pragma unroll
  for (int i = 0; i < V; i++) {
    float scaled = kScaled ? v[i] : v[i] * kScale;
    float e = exponential2(fmaf(v[i], kScaled ? -kLog2E / kScale : -kLog2E, -8.0f));
    v[i] = scaled * reciprocal(e + kScale);
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
