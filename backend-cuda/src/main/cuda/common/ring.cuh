// Rows read ahead: kDepth of them are on their way while a thread works on those before them. In registers, or,
// where a row is as wide as cp.async copies, in a ring in shared memory, which costs no registers and so lets
// more rows travel.
//
// In the ring each thread has slots of its own, so nothing has to be synchronised between threads. Every row
// taken closes one copy group, an empty one where there is no row left to fetch; so "all but the newest
// kDepth - 1 groups have arrived" always means that the oldest row has.
#pragma once
#include <type_traits>

#include "rows.cuh"

namespace weft {

// 8 or 16 bytes into shared memory, as part of the current copy group.
template <int kBytes>
__device__ __forceinline__ void copyAsync(uint32_t to, const void* from) {
  if constexpr (kBytes == 8) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(to), "l"(from));
  } else {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
  }
}
__device__ __forceinline__ void closeCopyGroup() { asm volatile("cp.async.commit_group;"); }
template <int kPending>
__device__ __forceinline__ void awaitCopyGroups() { asm volatile("cp.async.wait_group %0;" ::"n"(kPending)); }
__device__ __forceinline__ void awaitCopies() { asm volatile("cp.async.wait_all;"); }

__device__ __forceinline__ uint4 sharedPiece(uint32_t at) {
  uint4 q;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(q.x), "=r"(q.y), "=r"(q.z), "=r"(q.w) : "r"(at));
  return q;
}

// Rows of 8 or 16 bytes.
template <class E, int V>
__device__ __forceinline__ Row<E, V> sharedRow(uint32_t at) {
  Row<E, V> row;
  if constexpr (E::kBytes * V == 16) {
    uint4 q = sharedPiece(at);
    row.w[0] = q.x; row.w[1] = q.y; row.w[2] = q.z; row.w[3] = q.w;
  } else {
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(row.w[0]), "=r"(row.w[1]) : "r"(at));
  }
  return row;
}

// Rows of 16 bytes.
template <class E, int V>
__device__ __forceinline__ void putSharedRow(uint32_t at, const Row<E, V>& row) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(row.w[0]), "r"(row.w[1]), "r"(row.w[2]), "r"(row.w[3]));
}

// A thread's channels of a tensor of tokens.
struct Column {
  const void* base;
  i64 pitch;
  int channel, type;
};

// kTensors tensors are read in step, row by row.
template <class E, int V, int kDepth, int kTensors = 1>
struct RowsInRegisters {
  static constexpr int kBytes = 0;  // of shared memory
  Row<E, V> rows[kDepth][kTensors];

  __device__ __forceinline__ explicit RowsInRegisters(uint32_t) {}

  __device__ __forceinline__ void load(const Column (&from)[kTensors], int u, int t) {
#pragma unroll
    for (int n = 0; n < kTensors; n++) rows[u][n].template load<true>(from[n].base, t * from[n].pitch + from[n].channel, from[n].type);
  }

  // Forgets rows that have set out; before another start.
  __device__ __forceinline__ void drop() {}

  // Sets out for the rows from `first` on that lie before `limit`.
  __device__ __forceinline__ void start(const Column (&from)[kTensors], int first, int limit) {
#pragma unroll
    for (int u = 0; u < kDepth; u++)
      if (first + u < limit) load(from, u, first + u);
  }

  // Rows t .. t + kRows, where t - first = u modulo kDepth; sets out for those kDepth later, if kSure or they lie
  // before `limit`.
  template <bool kSure, int kRows>
  __device__ __forceinline__ void take(Row<E, V> (&taken)[kRows][kTensors], int u, const Column (&from)[kTensors], int t, int limit) {
#pragma unroll
    for (int j = 0; j < kRows; j++) {
#pragma unroll
      for (int n = 0; n < kTensors; n++) taken[j][n] = rows[u + j][n];
      if (kSure || t + j + kDepth < limit) load(from, u + j, t + j + kDepth);
    }
  }
};

// Rows come one after another from where `start` set out. Addresses are carried along: a row costs an addition, no product.
template <class E, int V, int kDepth, int kThreads, int kTensors = 1>
struct RowsInRing {
  static constexpr int kRowBytes = E::kBytes * V, kTensor = kThreads * kRowBytes, kStride = kTensors * kTensor;
  static constexpr int kBytes = kDepth * kStride;  // of shared memory
  static_assert(kRowBytes == 8 || kRowBytes == 16, "what cp.async copies");
  const char* next[kTensors];  // the row that sets out next
  uint32_t first, at;          // this thread's slots: the first, and that of the oldest row

  __device__ __forceinline__ explicit RowsInRing(uint32_t shared) : first(shared + threadIdx.x * kRowBytes), at(first) {}

  // Sets out for the next row, if it is wanted, and closes its copy group.
  __device__ __forceinline__ void fetch(const Column (&from)[kTensors], uint32_t slot, bool wanted) {
#pragma unroll
    for (int n = 0; n < kTensors; n++) {
      if (wanted) copyAsync<kRowBytes>(slot + n * kTensor, next[n]);
      next[n] += from[n].pitch * E::kBytes;
    }
    closeCopyGroup();
  }

  __device__ __forceinline__ void drop() { awaitCopies(); }

  __device__ __forceinline__ void start(const Column (&from)[kTensors], int row, int limit) {
#pragma unroll
    for (int n = 0; n < kTensors; n++) next[n] = static_cast<const char*>(from[n].base) + (row * from[n].pitch + from[n].channel) * E::kBytes;
    fill(from, row, limit);
  }

  // The same for one tensor, whose row begins at `begin`.
  __device__ __forceinline__ void startAt(const char* begin, const Column (&from)[kTensors], int row, int limit) {
    next[0] = begin;
    fill(from, row, limit);
  }

  __device__ __forceinline__ void fill(const Column (&from)[kTensors], int row, int limit) {
    at = first;
#pragma unroll
    for (int u = 0; u < kDepth; u++) fetch(from, first + u * kStride, row + u < limit);
  }

  __device__ __forceinline__ uint32_t after(uint32_t slot) const { return slot == first + (kDepth - 1) * kStride ? first : slot + kStride; }

  // The first tensor's oldest rows, which stay.
  template <int kRows>
  __device__ __forceinline__ void look(Row<E, V> (&rows)[kRows]) const {
    awaitCopyGroups<kDepth - kRows>();
    uint32_t slot = at;
#pragma unroll
    for (int j = 0; j < kRows; j++, slot = after(slot)) rows[j] = sharedRow<E, V>(slot);
  }

  // The oldest rows, t .. t + kRows; sets out for those kDepth later that lie before `limit`.
  template <int kRows>
  __device__ __forceinline__ void take(Row<E, V> (&taken)[kRows][kTensors], const Column (&from)[kTensors], int t, int limit) {
    awaitCopyGroups<kDepth - kRows>();
    uint32_t slots[kRows];
#pragma unroll
    for (int j = 0; j < kRows; j++) {
      slots[j] = at;
      at = after(at);
#pragma unroll
      for (int n = 0; n < kTensors; n++) taken[j][n] = sharedRow<E, V>(slots[j] + n * kTensor);
    }
#pragma unroll
    for (int j = 0; j < kRows; j++) fetch(from, slots[j], t + j + kDepth < limit);
  }
};

}  // namespace weft
