// Paged attention of few queries: decode and speculation (forward.cuh). Lists would have one or two rows each, so
// there are none: a thread block takes one query row and one of its blocks, its own among them, and reads the
// block's keys and values once, straight into registers. A second launch adds a row's partial results in slot
// order, its own block last. What limits this is the memory's bandwidth: loads of eight keys and eight values are
// under way in every lane.
//
// DP / 8 lanes share a key, 8 columns each. Every such group of lanes has a softmax of its own, over keys a fixed
// distance apart; they are added at the end.
#pragma once
#include "forward.cuh"

namespace weft::moba {

constexpr int kDirectThreads = 256;

// Of a row's partial results: slots, then its own block. F32, in `partials`.
__device__ __forceinline__ i64 directPartial(const ForwardArguments& a, i64 token, i64 query, int slot) {
  return (token * a.group * a.headCount + query) * (a.lists.slots + 1) + slot;
}

template <class E, int DP>
__device__ __forceinline__ void directPart(const ForwardArguments& a) {
  constexpr int kLanes = DP / 8, kKeysAtOnce = 32 / kLanes, kAhead = E::kBytes == 4 ? 4 : 8;
  constexpr int kWarps = kDirectThreads / 32, kParts = kWarps * kKeysAtOnce, kGroup = kAhead * kKeysAtOnce;
  __shared__ float sums[kParts][DP];
  __shared__ float maxima[kParts], totals[kParts];
  int slots = a.lists.slots, slot = blockIdx.x % (slots + 1), query = blockIdx.y, kvHead = query / a.group;
  int token = blockIdx.x / (slots + 1);
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, column = lane % kLanes * 8;
  int index = sequenceOfToken(a, token);
  if (index < 0) return;
  Sequence s = sequenceAt(a, index);
  int begin = 0, end = 0;
  if (s.keys > 0) {
    int position = token + s.shift, own = position / a.blockSize;
    int block = slot == slots ? own : a.selection[token * a.selectionTokenPitch + query * a.selectionHeadPitch + slot];
    if (block >= 0) {
      begin = block * a.blockSize;
      end = block == own ? position + 1 : begin + a.blockSize;
    }
  }
  i64 partial = directPartial(a, token, query, slot);
  if (begin == end) {
    if (threadIdx.x == 0) a.partialLse[partial] = kMinusInfinity;
    return;
  }
  float q[8];
  {
    EightColumns<E> bits;
    bits.load(a.q.row<E>(token, query), column, a.dim, a.vector & kVectorQ);
    bits.widen(q);
  }
  float maximum = kMinusInfinity, total = 0, o[8] = {};
  const char *keys = a.k.row<E>(0, 0, kvHead), *values = a.v.row<E>(0, 0, kvHead);
  for (int base = begin + warp * 32; base < end; base += kWarps * 32) {
    // Each lane finds one of 32 keys.
    Location at{-1, 0};
    if (base + lane < end) at = keyAt(a, index, base + lane);
    i64 keyAt = (at.page * a.k.pagePitch + at.slot * a.k.slotPitch) * E::kBytes;
    i64 valueAt = (at.page * a.v.pagePitch + at.slot * a.v.slotPitch) * E::kBytes;
#pragma unroll 1
    for (int from = 0; from < 32 && base + from < end; from += kGroup) {
      EightColumns<E> k[kAhead], v[kAhead];
      bool present[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; i++) {
        int source = from + i * kKeysAtOnce + lane / kLanes;
        present[i] = __shfl_sync(~0u, at.page, source) >= 0;
        i64 key = __shfl_sync(~0u, keyAt, source), value = __shfl_sync(~0u, valueAt, source);
        if (present[i]) {
          k[i].load(keys + key, column, a.dim, a.vector & kVectorK);
          v[i].load(values + value, column, a.valueDim, a.vector & kVectorV);
        } else {
          k[i].zero();
          v[i].zero();
        }
      }
      float x[kAhead], highest = maximum;
#pragma unroll
      for (int i = 0; i < kAhead; i++) {
        float y[8];
        k[i].widen(y);
        float dot = 0;
#pragma unroll
        for (int c = 0; c < 8; c++) dot = fmaf(q[c], y[c], dot);
#pragma unroll
        for (int d = kLanes / 2; d > 0; d /= 2) dot += __shfl_xor_sync(~0u, dot, d);
        x[i] = present[i] ? dot * a.scaleLog2 : kMinusInfinity;
        highest = fmaxf(highest, x[i]);
      }
      float low = highest == kMinusInfinity ? 0 : highest;
      float factor = exp2Approximate(maximum - low);
      maximum = highest;
      total *= factor;
#pragma unroll
      for (int c = 0; c < 8; c++) o[c] *= factor;
#pragma unroll
      for (int i = 0; i < kAhead; i++) {
        float y[8], p = exp2Approximate(x[i] - low);
        v[i].widen(y);
        total += p;
#pragma unroll
        for (int c = 0; c < 8; c++) o[c] = fmaf(p, y[c], o[c]);
      }
    }
  }
  int part = warp * kKeysAtOnce + lane / kLanes;
#pragma unroll
  for (int c = 0; c < 8; c++) sums[part][column + c] = o[c];
  if (column == 0) {
    maxima[part] = maximum;
    totals[part] = total;
  }
  __syncthreads();
  float highest = kMinusInfinity;
  for (int i = 0; i < kParts; i++) highest = fmaxf(highest, maxima[i]);
  float low = highest == kMinusInfinity ? 0 : highest;
  float all = 0;
  for (int i = 0; i < kParts; i++) all += totals[i] * exp2Approximate(maxima[i] - low);
  float inverse = all == 0 ? 0 : 1 / all;
  float* to = static_cast<float*>(a.partials) + partial * a.valuePitch;
  for (int c = threadIdx.x; c < a.valueDim; c += kDirectThreads) {
    float sum = 0;
    for (int i = 0; i < kParts; i++) sum = fmaf(sums[i][c], exp2Approximate(maxima[i] - low), sum);
    to[c] = sum * inverse;
  }
  if (threadIdx.x == 0) a.partialLse[partial] = all == 0 ? kMinusInfinity : highest + log2f(all);
}

constexpr int kMergeThreads = 128;

// A warp for each row, 8 columns a lane.
template <class E>
__device__ __forceinline__ void directMerge(const ForwardArguments& a) {
  int lane = threadIdx.x & 31, slots = a.lists.slots, heads = a.group * a.headCount;
  i64 row = static_cast<i64>(blockIdx.x) * (kMergeThreads / 32) + threadIdx.x / 32;
  if (row >= static_cast<i64>(a.tokens) * heads) return;
  int token = static_cast<int>(row / heads), query = static_cast<int>(row % heads), column = lane * 8;
  int index = sequenceOfToken(a, token);
  if (index < 0) return;
  const float* lse = a.partialLse + directPartial(a, token, query, 0);
  const float* partials = static_cast<const float*>(a.partials) + directPartial(a, token, query, 0) * a.valuePitch;
  float highest = kMinusInfinity;
  for (int i = lane; i <= slots; i += 32) highest = fmaxf(highest, lse[i]);
#pragma unroll
  for (int d = 16; d > 0; d /= 2) highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, d));
  float low = highest == kMinusInfinity ? 0 : highest, total = 0, x[8] = {};
#pragma unroll 4
  for (int i = 0; i <= slots; i++) {
    float sum = lse[i];
    if (sum == kMinusInfinity) continue;  // no block, and nothing was written
    float weight = exp2Approximate(sum - low);
    total += weight;
    if (column < a.valueDim) {
      const float4* from = reinterpret_cast<const float4*>(partials + static_cast<i64>(i) * a.valuePitch + column);
      float4 u = from[0], v = from[1];
      float y[8] = {u.x, u.y, u.z, u.w, v.x, v.y, v.z, v.w};
#pragma unroll
      for (int c = 0; c < 8; c++) x[c] = fmaf(weight, y[c], x[c]);
    }
  }
  Sequence s = sequenceAt(a, index);
  bool blind = total == 0 && (s.keys == 0 || pageOf(a, index, token + s.shift) < 0);
  float inverse = blind ? 0 : 1 / total;
#pragma unroll
  for (int c = 0; c < 8; c++) x[c] *= inverse;
  if (column < a.valueDim) write8<E>(a.out.row<E>(token, query), column, a.valueDim, a.vector & kVectorOut, x);
  if (lane == 0 && a.lse != nullptr) {
    a.lse[token * a.lseTokenPitch + query * a.lseHeadPitch] =
        blind ? kMinusInfinity : (highest + log2f(total)) * 0.69314718055994531f;
  }
  if (blind) {
    int* selection = a.selection + token * a.selectionTokenPitch + query * a.selectionHeadPitch;
    for (int i = lane; i < a.columns; i += 32) selection[i] = -1;
  }
}

}  // namespace weft::moba
