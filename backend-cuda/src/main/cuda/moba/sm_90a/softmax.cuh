// What the two Hopper kernels of MoBA's forward pass share: softmax over the accumulators of a warpgroup's product,
// and a few names for PTX.
//
// A thread of a warpgroup holds of a 64-row product two rows, 16 (warp) + lane / 4 and the row 8 below it, and in
// each the columns 8 i + 2 (lane % 4) and the next (hopper.cuh). So a row lies on four neighbouring lanes.
#pragma once
#include "../../common/hopper.cuh"
#include "../lists.cuh"

namespace weft::moba {

__device__ __forceinline__ float exp2Flushing(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Arrives where `condition` holds, without a branch: across one, the compiler waits for products under way.
__device__ __forceinline__ void barrier_arrive_if(uint32_t barrier, bool condition) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %1, 0;\n@p mbarrier.arrive.shared::cta.b64 _, [%0];\n}" ::"r"(barrier),
      "r"(static_cast<int>(condition))
      : "memory");
}

__device__ __forceinline__ void store_matrices(uint32_t to, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(a), "r"(b), "r"(c),
               "r"(d)
               : "memory");
}

// 0 for a row that has met no key.
__device__ __forceinline__ float reciprocal(float sum) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(sum));
  return sum == 0 ? 0.0f : y;
}

// The running softmax of a thread's two rows, in units of the unscaled scores. `sum` is of this thread's columns only.
struct Rows {
  float max[2], sum[2];

  __device__ __forceinline__ void reset() {
    max[0] = max[1] = -INFINITY;
    sum[0] = sum[1] = 0;
  }

  // Takes in a tile of scores, which become exp(scale * (score - max)); returns in `keep` the factors by which what
  // was accumulated before must be multiplied. scaleLog2 = scale * log2(e) > 0.
  template <int kCount>
  __device__ __forceinline__ void take(float (&s)[kCount], float scaleLog2, float (&keep)[2]) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float tops[4] = {max[h], max[h], max[h], max[h]};  // four chains, as each step waits for the one before
#pragma unroll
      for (int i = 0; i < kCount / 4; i++) {
        tops[i % 4] = fmaxf(tops[i % 4], fmaxf(s[4 * i + 2 * h], s[4 * i + 2 * h + 1]));
      }
      float top = fmaxf(fmaxf(tops[0], tops[1]), fmaxf(tops[2], tops[3]));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
      float shift = top == -INFINITY ? 0.0f : top * scaleLog2;
      keep[h] = exp2Flushing(fmaf(max[h], scaleLog2, -shift));
      max[h] = top;
      float a = 0, b = 0;
#pragma unroll
      for (int i = 0; i < kCount / 4; i++) {
        float& x = s[4 * i + 2 * h];
        float& y = s[4 * i + 2 * h + 1];
        x = exp2Flushing(fmaf(x, scaleLog2, -shift));
        y = exp2Flushing(fmaf(y, scaleLog2, -shift));
        a += x;
        b += y;
      }
      sum[h] = fmaf(sum[h], keep[h], a + b);
    }
  }

  // Never sleeps, as sums are not negative. It keeps the exponentials of take() ahead of a later wait for products:
  // that has no operands, so the assembler would move it forward.
  __device__ __forceinline__ void hold() const {
    asm volatile("{\n.reg .pred p;\nsetp.lt.f32 p, %0, 0f00000000;\n@p nanosleep.u32 1;\n}" ::"f"(sum[0] + sum[1]) : "memory");
  }

  // The sums over whole rows.
  __device__ __forceinline__ void finish() {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
      sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
    }
  }

  // After finish(): the logarithm of the sum of exponentials, to base 2.
  __device__ __forceinline__ float log2Sum(int h, float scaleLog2) const {
    return sum[h] == 0 ? -INFINITY : fmaf(max[h], scaleLog2, __log2f(sum[h]));
  }
};

// Probabilities in storage type, as the left operand of the next product: step k covers p[k].
template <class E, int kCount>
__device__ __forceinline__ void pack(const float (&s)[kCount], uint32_t (&p)[kCount / 8][4]) {
#pragma unroll
  for (int k = 0; k < kCount / 8; k++) {
#pragma unroll
    for (int i = 0; i < 4; i++) p[k][i] = E::narrowPair(s[8 * k + 2 * i], s[8 * k + 2 * i + 1]);
  }
}

}  // namespace weft::moba
