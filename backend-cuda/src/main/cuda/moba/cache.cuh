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
    EightColumns<E> keys[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; i++) {
      int r = first + i * groups;
      const char* from = r < count ? row(r) : nullptr;
      if (r < count && from == nullptr) whole = false;
      if (from != nullptr && chunk * 8 < dim) {
        keys[i].load(from, chunk * 8, dim, vector);
      } else {
        keys[i].zero();
      }
    }
#pragma unroll
    for (int i = 0; i < kAhead; i++) {
      float x[8];
      keys[i].widen(x);
#pragma unroll
      for (int c = 0; c < 8; c++) sum[c] += x[c];
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
