// Means of blocks, and the paged cache: tables of its blocks, and append (forward.cuh).
//
// A mean is summed in the same order wherever its keys lie: kThreads / C rows at a time, C the chunks of 8 columns
// of a row rounded up to a power of two, then those sums in a tree. So means in the cache equal those of the packed
// form bit for bit, whatever the chunks that keys came in.
#pragma once
#include "forward.cuh"

namespace weft::moba {

struct MeansArguments {
  const Block* blocks;
  Pages k, means;
  int blocksPerHead, blockSize, dim, vector;
};

struct PagedBlocksArguments : Batch {
  Home* homes;
  Block* blocks;
  uint32_t* ticket;
  int blocksPerHead;
};

struct AppendArguments : Batch {
  Matrix3 newK, newV;
  Pages k, v, means;
  int elementBytes, kvHeads, dim, valueDim;
  int keyVector, valueVector;  // whether the rows of both sides are of 16 bytes
};

constexpr int kMeanThreads = 256;

// Reads 8 columns of a row.
template <class E>
__device__ __forceinline__ void read8(float (&x)[8], const char* row, int column, int dim, bool vector) {
  if (vector && column + 8 <= dim) {
    if constexpr (E::kBytes == 4) {
      float4 u = *reinterpret_cast<const float4*>(row + column * 4), v = *reinterpret_cast<const float4*>(row + column * 4 + 16);
      x[0] = u.x; x[1] = u.y; x[2] = u.z; x[3] = u.w;
      x[4] = v.x; x[5] = v.y; x[6] = v.z; x[7] = v.w;
    } else {
      uint4 u = *reinterpret_cast<const uint4*>(row + column * 2);
      uint32_t w[4] = {u.x, u.y, u.z, u.w};
#pragma unroll
      for (int i = 0; i < 8; i++) x[i] = E::widen((i & 1) ? w[i >> 1] >> 16 : w[i >> 1] & 0xffffu, 0);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; i++) {
    x[i] = 0;
    if (column + i < dim) {
      if constexpr (E::kBytes == 4) {
        x[i] = reinterpret_cast<const float*>(row)[column + i];
      } else {
        x[i] = E::widen(reinterpret_cast<const unsigned short*>(row)[column + i], 0);
      }
    }
  }
}

// The mean of `count` rows, by all threads of a block; row(i) is null where it is absent: then nothing is written.
template <class E, class Row>
__device__ __forceinline__ void blockMean(char* to, Row row, int count, int dim, bool vector) {
  __shared__ float sums[kMeanThreads][8 + 1];
  int chunks = 1;
  while (chunks * 8 < dim) chunks *= 2;
  int groups = kMeanThreads / chunks;
  int chunk = threadIdx.x % chunks, group = threadIdx.x / chunks;
  float sum[8] = {};
  bool whole = true;
  constexpr int kAhead = 8;
  for (int first = group; first < count; first += groups * kAhead) {
    float x[kAhead][8];
#pragma unroll
    for (int i = 0; i < kAhead; i++) {
      int r = first + i * groups;
      const char* from = r < count ? row(r) : nullptr;
      if (r < count && from == nullptr) whole = false;
      if (from != nullptr && chunk * 8 < dim) {
        read8<E>(x[i], from, chunk * 8, dim, vector);
      } else {
#pragma unroll
        for (int c = 0; c < 8; c++) x[i][c] = 0;
      }
    }
#pragma unroll
    for (int i = 0; i < kAhead; i++) {
#pragma unroll
      for (int c = 0; c < 8; c++) sum[c] += x[i][c];
    }
  }
#pragma unroll
  for (int c = 0; c < 8; c++) sums[threadIdx.x][c] = sum[c];
  if (!__syncthreads_and(whole)) return;
  for (int half = groups / 2; half > 0; half /= 2) {
    if (group < half) {
#pragma unroll
      for (int c = 0; c < 8; c++) sums[threadIdx.x][c] += sums[threadIdx.x + half * chunks][c];
    }
    __syncthreads();
  }
  if (group == 0) {
#pragma unroll
    for (int c = 0; c < 8; c++) {
      int column = chunk * 8 + c;
      if (column < dim) {
        float mean = sums[threadIdx.x][c] / static_cast<float>(count);
        if constexpr (E::kBytes == 4) {
          reinterpret_cast<float*>(to)[column] = mean;
        } else {
          reinterpret_cast<unsigned short*>(to)[column] = static_cast<unsigned short>(E::narrow(mean, 0));
        }
      }
    }
  }
}

// A thread block for each block number and head. Only complete blocks are ever scored.
template <class E>
__device__ __forceinline__ void packedMean(const MeansArguments& a) {
  int number = blockIdx.x, head = blockIdx.y;
  Block block = a.blocks[number];
  if (block.end - block.start != a.blockSize) return;
  blockMean<E>(
      a.means.template row<E>(0, number, head), [&](int r) { return a.k.template row<E>(0, block.start + r, head); },
      a.blockSize, a.dim, a.vector);
}

// The last sequence that starts at or before a token, or -1.
__device__ __forceinline__ int sequenceOfToken(const Batch& a, int token) {
  Sequences q{a.cu, a.sequences, a.tokens};
  int low = -1, high = a.sequences;
  while (high - low > 1) {
    int middle = low + (high - low) / 2;
    if (q.start(middle) <= token) low = middle; else high = middle;
  }
  return low >= 0 && token < q.end(low) ? low : -1;
}

// A thread block for each new token and head; most tokens complete no block.
template <class E>
__device__ __forceinline__ void appendedMean(const AppendArguments& a) {
  int token = blockIdx.x, head = blockIdx.y;
  int index = sequenceOfToken(a, token);
  if (index < 0) return;
  Sequence s = sequenceAt(a, index);
  int position = token + s.shift;
  if (s.keys == 0 || (position + 1) % a.blockSize != 0) return;
  int first = position + 1 - a.blockSize;
  int page = pageOf(a, index, position);
  if (page < 0) return;
  blockMean<E>(
      a.means.template row<E>(page, position % a.pageSize / a.blockSize, head),
      [&](int r) -> const char* {
        Location at = keyAt(a, index, first + r);
        return at.page < 0 ? nullptr : a.k.template row<E>(at.page, at.slot, head);
      },
      a.blockSize, a.dim, a.keyVector);
}

}  // namespace weft::moba
