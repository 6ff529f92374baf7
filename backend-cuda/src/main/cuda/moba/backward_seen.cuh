// The own block once more, without what its rows do not see. Matrix units multiply a tile whole: a pair that the causal
// mask leaves out has weight 0, and 0 times NaN or infinity is NaN, so a row that is not finite spoils the sums of all
// rows that meet its tile. No sum can hide that: spoiled ones are NaN. Such a warp computes its sums of the own block
// again, pair by pair and by FMA. It is slow, and rare: where the NaN is the row's own, the result is NaN as before.
#pragma once
#include "backward.cuh"

namespace weft::moba {

template <int kCount>
__device__ __forceinline__ bool isFinite(const float (&sums)[kCount]) {
  float zero = 0;
#pragma unroll
  for (int i = 0; i < kCount; i++) zero = fmaf(sums[i], 0.f, zero);
  return zero == 0;
}

// A pair of neighbouring elements, zeros beyond the width.
template <class E>
__device__ __forceinline__ float2 seenPair(const Matrix& m, i64 row, int column, int width) {
  const unsigned short* from = static_cast<const unsigned short*>(m.base) + row + column;
  return make_float2(column < width ? E::widen(__ldg(from), 0) : 0.f, column + 1 < width ? E::widen(__ldg(from + 1), 0) : 0.f);
}

// Of two rows, by four threads that share them.
template <class E>
__device__ __forceinline__ float seenDot(const Matrix& x, i64 xRow, const Matrix& y, i64 yRow, int width) {
  float sum = 0;
#pragma unroll 1
  for (int column = threadIdx.x % 4 * 2; column < width; column += 8) {
    float2 u = seenPair<E>(x, xRow, column, width), v = seenPair<E>(y, yRow, column, width);
    sum = fmaf(u.x, v.x, fmaf(u.y, v.y, sum));
  }
  sum += __shfl_xor_sync(~0u, sum, 1);
  return sum + __shfl_xor_sync(~0u, sum, 2);
}

// Sums of a warp's 16 rows X over the rows Y of the own block that they are joined with, laid out as the accumulators of
// mma and wgmma are: of row lane / 4 + 8 half, columns column0 + 8 c + 2 (lane % 4) and the next at 4 c + 2 half.
// kKeys: X are keys, Y all rows of queries of tokens [from, to); else X are rows of queries, Y the keys [from, to).
// x: the two rows of the thread; of keys, token and key-value head. Those that do not exist get zeros.
template <class E, Side kSide, int kCount>
__device__ __forceinline__ void sumSeen(const BackwardArguments& a, int kvHead, int from, int to, const QueryRow (&x)[2],
                                        int column0, float (&sum1)[kCount], float* sum2) {
  constexpr bool kKeys = kSide == Side::kKeys;
  const Matrix &mx1 = kKeys ? a.k : a.q, &mx2 = kKeys ? a.v : a.dout, &my1 = kKeys ? a.q : a.k, &my2 = kKeys ? a.dout : a.v;
  int group = kKeys ? a.lists.group : 1, pair = threadIdx.x % 4 * 2;
  // Else what follows from these would be computed ahead of the caller's loop, and take registers from it.
  asm volatile("" : "+r"(kvHead), "+r"(from), "+r"(to), "+r"(group), "+r"(pair));
#pragma unroll
  for (int half = 0; half < 2; half++) {  // one after the other: registers are few here
    bool exists = x[half].exists();
    int own = exists ? x[half].token : from, ownHead = exists ? x[half].head : kKeys ? kvHead : kvHead * a.lists.group;
    asm volatile("" : "+r"(own), "+r"(ownHead));
    i64 x1 = own * mx1.tokenPitch + ownHead * mx1.headPitch, x2 = own * mx2.tokenPitch + ownHead * mx2.headPitch;
#pragma unroll
    for (int c = 0; c < kCount / 4; c++) {
#pragma unroll
      for (int i = 4 * c + 2 * half; i < 4 * c + 2 * half + 2; i++) {
        sum1[i] = 0;
        if constexpr (kKeys) sum2[i] = 0;
      }
    }
    for (int token = from; token < to; token++) {
      bool seen = exists && (kKeys ? own <= token : token <= own);
      if (!__any_sync(~0u, seen)) continue;
#pragma unroll 1
      for (int member = 0; member < group; member++) {
        int head = kKeys ? kvHead * group + member : kvHead;
        i64 y1 = token * my1.tokenPitch + head * my1.headPitch, y2 = token * my2.tokenPitch + head * my2.headPitch;
        float s = seenDot<E>(mx1, x1, my1, y1, a.dim), dp = seenDot<E>(mx2, x2, my2, y2, a.valueDim);
        float2 stats = __ldg(a.stats + (kKeys ? static_cast<i64>(token) * a.heads + head : static_cast<i64>(own) * a.heads + ownHead));
        float weight = exp2Approximate(fmaf(s, a.scaleLog2, -stats.x)), slope = weight * (dp - stats.y);
        if (!seen) continue;
#pragma unroll 1
        for (int c = 0; c < kCount / 4; c++) {  // few loads at a time, again for the sake of registers
          int column = column0 + 8 * c + pair;
          float2 u = seenPair<E>(my1, y1, column, a.dim), v = make_float2(0.f, 0.f);
          if constexpr (kKeys) v = seenPair<E>(my2, y2, column, a.valueDim);
#pragma unroll
          for (int at = 0; at < kCount / 4; at++) {
            if (at != c) continue;
            int i = 4 * at + 2 * half;
            sum1[i] = fmaf(slope, u.x, sum1[i]);
            sum1[i + 1] = fmaf(slope, u.y, sum1[i + 1]);
            if constexpr (kKeys) {
              sum2[i] = fmaf(weight, v.x, sum2[i]);
              sum2[i + 1] = fmaf(weight, v.y, sum2[i + 1]);
            }
          }
        }
      }
    }
  }
}

}  // namespace weft::moba
