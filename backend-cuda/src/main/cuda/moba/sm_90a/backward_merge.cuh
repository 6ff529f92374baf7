// MoBA backward on Hopper: the sum of a row's partial gradients.
#pragma once
#include "../backward.cuh"

namespace weft::moba {

// dq = scale (the own block's partial + those of the selected blocks, in slot order). kMergeLanes threads share a
// row, four columns each at a time; widths are multiples of 8.
constexpr int kMergeThreads = 256, kMergeLanes = 16;

template <class E>
__device__ __forceinline__ void merge(const BackwardArguments& a) {
  constexpr int kQuads = 128 / 4 / kMergeLanes, kSlotsAtOnce = 8;
  int lane = threadIdx.x % kMergeLanes, group = a.lists.group, slots = a.lists.slots;
  i64 rows = static_cast<i64>(a.tokens) * group;
  i64 item = (static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x) / kMergeLanes;
  int head = static_cast<int>(item / rows);
  i64 row = item % rows;
  int token = static_cast<int>(row / group), query = (a.firstHead + head) * group + static_cast<int>(row % group);
  bool exists = head < a.headCount;
  Home home{-1, 0};
  if (exists) home = a.lists.homes[token];
  exists = home.own >= 0;
  float4 sum[kQuads];
#pragma unroll
  for (int i = 0; i < kQuads; i++) {
    int column = 4 * (lane + i * kMergeLanes);
    sum[i] = exists && column < a.dim
                 ? __ldcs(reinterpret_cast<const float4*>(a.ownPartials + (head * rows + row) * a.partialPitch + column))
                 : make_float4(0.f, 0.f, 0.f, 0.f);
  }
  const float* partials = a.partials + (head * a.lists.entriesPerHead + row * slots) * a.partialPitch;
  for (int base = 0; base < slots; base += kMergeLanes) {
    bool live = exists && base + lane < slots && a.selection.block(home, token, query, base + lane) >= 0;
    uint32_t mask = __ballot_sync(~0u, live) >> (threadIdx.x & kMergeLanes);  // of this row, in the low half
    for (int first = 0; first < min(kMergeLanes, slots - base); first += kSlotsAtOnce) {
      float4 v[kSlotsAtOnce][kQuads];
#pragma unroll
      for (int j = 0; j < kSlotsAtOnce; j++) {
#pragma unroll
        for (int i = 0; i < kQuads; i++) {
          int column = 4 * (lane + i * kMergeLanes);
          bool there = mask >> (first + j) & 1 && column < a.dim;
          v[j][i] = there ? __ldcs(reinterpret_cast<const float4*>(partials + static_cast<i64>(base + first + j) * a.partialPitch + column))
                          : make_float4(0.f, 0.f, 0.f, 0.f);
        }
      }
#pragma unroll
      for (int j = 0; j < kSlotsAtOnce; j++) {
        if (!(mask >> (first + j) & 1)) continue;  // adding 0 would turn a -0 around
#pragma unroll
        for (int i = 0; i < kQuads; i++) {
          sum[i].x += v[j][i].x;
          sum[i].y += v[j][i].y;
          sum[i].z += v[j][i].z;
          sum[i].w += v[j][i].w;
        }
      }
    }
  }
  if (!exists) return;
  uint16_t* to = static_cast<uint16_t*>(a.dq.base) + token * a.dq.tokenPitch + query * a.dq.headPitch;
#pragma unroll
  for (int i = 0; i < kQuads; i++) {
    int column = 4 * (lane + i * kMergeLanes);
    if (column >= a.dim) continue;
    uint32_t low = E::narrowPair(sum[i].x * a.scale, sum[i].y * a.scale);
    uint32_t high = E::narrowPair(sum[i].z * a.scale, sum[i].w * a.scale);
    if (a.vector & kDq) {
      *reinterpret_cast<uint32_t*>(to + column) = low;
      *reinterpret_cast<uint32_t*>(to + column + 2) = high;
    } else {
      to[column] = static_cast<uint16_t>(low);
      to[column + 1] = static_cast<uint16_t>(low >> 16);
      to[column + 2] = static_cast<uint16_t>(high);
      to[column + 3] = static_cast<uint16_t>(high >> 16);
    }
  }
}

}  // namespace weft::moba
