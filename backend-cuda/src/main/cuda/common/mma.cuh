// Warp-level matrix products that every architecture from 8.0 on has: cp.async into swizzled shared tiles,
// ldmatrix, and mma.sync m16n8k16 of F16 or BF16 with F32 sums.
//
// Fragments of a warp, lane l, g = l / 4, q = l % 4 (PTX ISA, "Matrix Fragments for mma.m16n8k16"); two
// neighbouring columns are one register of A and B:
//   A 16 x 16   a0 (g, 2q..)   a1 (g + 8, 2q..)   a2 (g, 2q + 8..)   a3 (g + 8, 2q + 8..)
//   B 16 x 8    b0 (k = 2q.., n = g)   b1 (k = 2q + 8.., n = g)
//   C 16 x 8    c0 (g, 2q)   c1 (g, 2q + 1)   c2 (g + 8, 2q)   c3 (g + 8, 2q + 1)
// So C of one product, rounded and packed in pairs, is A of the next: c of two neighbouring 16 x 8 tiles gives
// a0 = (c0, c1), a1 = (c2, c3) of the first, a2, a3 likewise of the second.
//
// Shared tiles: rows of a multiple of 128 bytes; chunk c (16 bytes) of row r lies at chunk c ^ (r & 7). Eight
// rows of one chunk then lie in all 32 banks, so neither ldmatrix nor 16-byte stores conflict.
#pragma once
#include "rows.cuh"

namespace weft {

__device__ __forceinline__ uint32_t sharedAddress(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Copies 16 bytes to shared memory, or fills with zeros what lies beyond `bytes` (0: nothing is read).
__device__ __forceinline__ void copyAsync16(uint32_t to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void commitCopies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Waits until at most kLeft of this thread's groups are under way.
template <int kLeft>
__device__ __forceinline__ void awaitCopies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kLeft) : "memory");
}

// Where a chunk of a swizzled tile lies.
template <int kRowBytes>
__device__ __forceinline__ uint32_t swizzled(int row, int chunk) {
  static_assert(kRowBytes % 128 == 0, "rows of a swizzled tile are multiples of 128 bytes");
  return static_cast<uint32_t>(row) * kRowBytes + (static_cast<uint32_t>(chunk ^ (row & 7)) << 4);
}

__device__ __forceinline__ void loadMatrices(uint32_t (&r)[4], uint32_t at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
__device__ __forceinline__ void loadMatricesTransposed(uint32_t (&r)[4], uint32_t at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// A fragment: 16 rows from `row`, 16 columns (two chunks) from `chunk`, of a tile stored [row][column].
template <int kRowBytes>
__device__ __forceinline__ void loadA(uint32_t (&a)[4], uint32_t tile, int row, int chunk, int lane) {
  loadMatrices(a, tile + swizzled<kRowBytes>(row + (lane & 15), chunk + (lane >> 4)));
}
// B fragments of two 8-column tiles, n from `n` and n + 8, k from chunk `chunk`, of a tile stored [n][k]:
// b[0], b[1] of the first, b[2], b[3] of the second.
template <int kRowBytes>
__device__ __forceinline__ void loadB(uint32_t (&b)[4], uint32_t tile, int n, int chunk, int lane) {
  loadMatrices(b, tile + swizzled<kRowBytes>(n + (lane & 7) + ((lane >> 4) << 3), chunk + ((lane >> 3) & 1)));
}
// The same from a tile stored [k][n]: k from `k`, n from chunk `chunk`.
template <int kRowBytes>
__device__ __forceinline__ void loadBTransposed(uint32_t (&b)[4], uint32_t tile, int k, int chunk, int lane) {
  loadMatricesTransposed(b, tile + swizzled<kRowBytes>(k + (lane & 15), chunk + (lane >> 4)));
}
// A fragment of the transpose of a tile stored [k][m]: m (two chunks) from chunk `chunk`, k from `k`.
template <int kRowBytes>
__device__ __forceinline__ void loadATransposed(uint32_t (&a)[4], uint32_t tile, int k, int chunk, int lane) {
  loadMatricesTransposed(
      a, tile + swizzled<kRowBytes>(k + (lane & 7) + ((lane >> 4) << 3), chunk + ((lane >> 3) & 1)));
}

// d += a b.
template <class E>
__device__ __forceinline__ void multiplyAdd(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <>
__device__ __forceinline__ void multiplyAdd<Bf16>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void multiplyAdd<F16>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace weft
