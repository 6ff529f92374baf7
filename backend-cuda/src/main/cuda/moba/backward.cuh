// MoBA backward: what its kernels share. Given out, lse and selection as forward wrote them, with
//   P = exp(scale q.k - lse),  delta = rowsum(dout * out),  dS = P * (dout.v - delta)
// over the pairs of query row and key that attention joined:
//   dv = P^T dout,  dk = scale dS^T q,  dq = scale dS k.
//
// Launches (MobaBackwardPass.java):
//   moba_backward_stats   lse * log2(e) and delta of every row
//   lists                 of the rows that selected each block (moba_lists.cu)
//   ..._keys              a thread block keeps some keys of one block and meets all their rows: those of the own
//                         block, then the list's. dk and dv stay in registers until the last row.
//   ..._list              a thread block keeps a tile of rows of one list and meets the block's keys; their dq
//                         goes to scratch in F32, one partial for each entry
//   ..._own               the same for the rows of a block and its own keys; adds the partials in slot order -> dq.
//                         On Hopper it leaves one more partial, and ..._merge adds them all: bound by memory, it
//                         wants more threads than the products leave room for.
// S and dP are computed twice, for keys and for rows. In exchange no two thread blocks add to one value, so that
// results repeat bit for bit and no traffic of atomics limits the speed.
//
// One view of both: a stationary side X (K and V, or Q and dout) in shared memory, a streamed side Y (the other),
//   S = X1 Y1^T,  dP = X2 Y2^T,  sum1 += dS Y1,  and for keys  sum2 += P Y2.
#pragma once
#include "lists.cuh"

namespace weft::moba {

enum class Side { kKeys, kList, kOwn };

struct Matrix {  // [T, heads, width], innermost stride 1
  void* base;
  i64 tokenPitch, headPitch;
};

// As MobaBackwardPass.java writes it.
struct BackwardArguments {
  Lists lists;
  Selection selection;
  Matrix q, k, v, dout, dq, dk, dv;
  const float2* stats;  // [T, H]: lse * log2(e), delta
  float* partials;      // [key-value heads of this pass][entriesPerHead][partialPitch], for kList and kOwn
  float* ownPartials;   // [key-value heads of this pass][T * G][partialPitch], where kOwn leaves the sum to a launch of its own
  uint32_t* ticket;     // of kKeys' work where thread blocks take it one by one; 0 at the start
  float scale, scaleLog2;
  int tokens, heads;         // T, H
  int firstHead, headCount;  // key-value heads of this pass
  int listHead;              // the pass's first head, counted from the first that has lists
  int dim, valueDim;
  int partialPitch;  // dim, and one more where that is odd
  int parts;    // thread blocks for one block: kKeys, of its keys; kOwn, of its rows
  int vector;   // bits: q, k, v, dout have rows of 16 aligned bytes; dq, dk, dv of aligned pairs of elements
};

enum VectorBit : int { kQ = 1, kK = 2, kV = 4, kDout = 8, kDq = 16, kDk = 32, kDv = 64 };

constexpr int kSeesNothing = -1;

__device__ __forceinline__ float exp2Approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// A row of queries as kernels handle it: its token and head, or none.
struct QueryRow {
  int token, head;
  uint32_t entry;  // in its list, of kList
  __device__ __forceinline__ bool exists() const { return token >= 0; }
};

// Row `index` of those that a block holds, counted over tokens and then heads of the group.
__device__ __forceinline__ QueryRow ownRow(const BackwardArguments& a, int kvHead, int start, int end, uint32_t index) {
  uint32_t group = a.lists.group;
  if (index >= static_cast<uint32_t>(end - start) * group) return {-1, 0, 0};
  uint32_t t = index / group;
  return {start + static_cast<int>(t), kvHead * a.lists.group + static_cast<int>(index - t * group), 0};
}

__device__ __forceinline__ QueryRow listedRow(const BackwardArguments& a, int kvHead, uint32_t entry) {
  uint32_t group = a.lists.group, row = entry / static_cast<uint32_t>(a.lists.slots), t = row / group;
  return {static_cast<int>(t), kvHead * a.lists.group + static_cast<int>(row - t * group), entry};
}

}  // namespace weft::moba
