// Entry points of means, of the cache's tables and of append (cache.cuh):
//   moba_means_T, moba_append_means_T   T: bf16, f16, f32
//   moba_paged_blocks                   as moba_blocks, for the cache: sequence s has blocksPerSequence numbers
//   moba_append                         stores rows of new keys and values
#include "cache.cuh"

using namespace weft;
using namespace weft::moba;

#define MOBA_MEANS(NAME, E)                                                                                            \
  extern "C" __global__ void __launch_bounds__(kMeanThreads) moba_means_##NAME(const __grid_constant__ MeansArguments a) { \
    packedMean<E>(a);                                                                                                  \
  }                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(kMeanThreads)                                                           \
      moba_append_means_##NAME(const __grid_constant__ AppendArguments a) {                                            \
    appendedMean<E>(a);                                                                                                \
  }
MOBA_MEANS(bf16, Bf16)
MOBA_MEANS(f16, F16)
MOBA_MEANS(f32, F32)

namespace {
constexpr int kTableThreads = 128;
}

// One thread for each token and each block number.
extern "C" __global__ void __launch_bounds__(kTableThreads) moba_paged_blocks(const __grid_constant__ PagedBlocksArguments a) {
  i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i == 0) *a.ticket = 0;
  if (i < a.tokens) {
    int token = static_cast<int>(i), index = sequenceOfToken(a, token);
    Home home{-1, 0};
    if (index >= 0) {
      Sequence s = sequenceAt(a, index);
      if (s.keys > 0) {
        home.first = index * a.blocksPerSequence;
        home.own = home.first + (token + s.shift) / a.blockSize;
      }
    }
    a.homes[i] = home;
  }
  if (i < a.blocksPerHead) {
    int number = static_cast<int>(i);
    int index = number / max(a.blocksPerSequence, 1), start = number % max(a.blocksPerSequence, 1);
    Block block{0, 0, 0, -1};
    if (index < a.sequences) {
      Sequence s = sequenceAt(a, index);
      i64 from = static_cast<i64>(start) * a.blockSize;
      if (from < s.keys) {
        block.start = static_cast<int>(from);
        block.end = static_cast<int>(min(from + a.blockSize, static_cast<i64>(s.keys)));
        block.first = index * a.blocksPerSequence;
        block.sequence = index;
      }
    }
    a.blocks[i] = block;
  }
}

namespace {

// Copies 16 bytes of a row from byte `at` on, or what there is of them.
__device__ __forceinline__ void copy16(char* to, const char* from, int at, int rowBytes, int elementBytes, bool vector) {
  if (at >= rowBytes) return;
  if (vector && at + 16 <= rowBytes) {
    *reinterpret_cast<uint4*>(to + at) = *reinterpret_cast<const uint4*>(from + at);
    return;
  }
  for (int b = at; b < min(at + 16, rowBytes); b += elementBytes) {
    if (elementBytes == 4) {
      *reinterpret_cast<uint32_t*>(to + b) = *reinterpret_cast<const uint32_t*>(from + b);
    } else {
      *reinterpret_cast<unsigned short*>(to + b) = *reinterpret_cast<const unsigned short*>(from + b);
    }
  }
}

template <class E>
__device__ __forceinline__ void appendRow(const AppendArguments& a, int token, Location at, int head, int byte) {
  copy16(a.k.row<E>(at.page, at.slot, head), a.newK.row<E>(token, head), byte, a.dim * E::kBytes, E::kBytes, a.keyVector);
  copy16(a.v.row<E>(at.page, at.slot, head), a.newV.row<E>(token, head), byte, a.valueDim * E::kBytes, E::kBytes, a.valueVector);
}

}  // namespace

// A thread block for each new token, a thread for 16 bytes of its keys and values of one head.
extern "C" __global__ void __launch_bounds__(kTableThreads) moba_append(const __grid_constant__ AppendArguments a) {
  int token = blockIdx.x;
  int index = sequenceOfToken(a, token);
  if (index < 0) return;
  Sequence s = sequenceAt(a, index);
  if (s.keys == 0) return;
  Location at = keyAt(a, index, token + s.shift);
  if (at.page < 0) return;
  int chunks = (max(a.dim, a.valueDim) * a.elementBytes + 15) / 16;
  for (int i = threadIdx.x; i < chunks * a.kvHeads; i += blockDim.x) {
    int head = i / chunks, byte = i % chunks * 16;
    if (a.elementBytes == 4) {
      appendRow<F32>(a, token, at, head, byte);
    } else {
      appendRow<Bf16>(a, token, at, head, byte);
    }
  }
}
