// What only Hopper (sm_90a) has: transaction barriers, bulk tensor copies, warpgroup matrix products, register
// budgets by warpgroup, and launches that overlap their predecessor. Thin names for PTX; each says what it demands.
//
// Shared memory addresses are 32-bit (shared_address). Operands of wgmma lie in shared memory as rows of 64
// elements of 16 bits (128 bytes), swizzled: the 16-byte chunk c of row r is stored at chunk c ^ (r & 7), and each
// group of 8 rows starts at a multiple of 1024 bytes. That is what a tensor map with a 128-byte swizzle writes and
// what kSwizzledChunk tells threads that write it themselves.
#pragma once
#include "overlap.cuh"
#include <cuda.h>

#include <cstdint>
#include <type_traits>

#include "rows.cuh"

namespace weft::hopper {

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// The byte at which chunk `chunk` (16 bytes) of row `row` lies in a tile of 128-byte rows.
__device__ __forceinline__ uint32_t swizzled(uint32_t row, uint32_t chunk) {
  return row * 128 + ((chunk ^ (row & 7)) << 4);
}

// ---- transaction barriers (8 bytes each) ---------------------------------------------------------------------

__device__ __forceinline__ void barrier_init(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// After all barrier_init of a thread, before the block's __syncthreads: makes them known to the copy engine.
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives, and lets the phase end only after `bytes` more have been written by bulk copies.
__device__ __forceinline__ void barrier_arrive_expect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// Arrives when this thread's cp.async so far are done; the arrival counts among those of barrier_init.
__device__ __forceinline__ void barrier_arrive_after_copies(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ bool barrier_try_wait(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(done)
      : "r"(barrier), "r"(parity)
      : "memory");
  return done;
}
// Waits until the phase of this parity has ended. A fresh barrier is in phase 0: waiting for parity 1 returns.
__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity) {
  while (!barrier_try_wait(barrier, parity)) {
  }
}

// A barrier among `threads` threads of the block, by number 1 to 15 (0 is __syncthreads).
__device__ __forceinline__ void named_barrier(int number, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

// ---- copies -----------------------------------------------------------------------------------------------------

// 16 bytes by an asynchronous copy of this thread; `bytes` of them from memory (0 or 16), the rest zeros.
__device__ __forceinline__ void copy_async_16(uint32_t to, const void* from, uint32_t bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

__device__ __forceinline__ void prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// How long lines of a copy stay in the L2: createpolicy's encodings of evict_first and evict_normal.
constexpr uint64_t kEvictFirst = 0x12f0000000000000ull, kEvictNormal = 0x1000000000000000ull;

// A box of a tensor map into shared memory at `to`; its bytes count towards `barrier`. Coordinates innermost first.
__device__ __forceinline__ void copy_box(
    uint32_t to, const CUtensorMap* map, uint32_t barrier, uint64_t policy, int c0, int c1) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%4, %5}], [%2], %3;" ::"r"(to), "l"(map), "r"(barrier), "l"(policy), "r"(c0), "r"(c1)
      : "memory");
}
__device__ __forceinline__ void copy_box(
    uint32_t to, const CUtensorMap* map, uint32_t barrier, uint64_t policy, int c0, int c1, int c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%4, %5, %6}], [%2], %3;" ::"r"(to), "l"(map), "r"(barrier), "l"(policy), "r"(c0), "r"(c1),
      "r"(c2)
      : "memory");
}
__device__ __forceinline__ void copy_box(
    uint32_t to, const CUtensorMap* map, uint32_t barrier, uint64_t policy, int c0, int c1, int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%4, %5, %6, %7}], [%2], %3;" ::"r"(to), "l"(map), "r"(barrier), "l"(policy), "r"(c0), "r"(c1),
      "r"(c2), "r"(c3)
      : "memory");
}
__device__ __forceinline__ void copy_box(
    uint32_t to, const CUtensorMap* map, uint32_t barrier, uint64_t policy, int c0, int c1, int c2, int c3, int c4) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%4, %5, %6, %7, %8}], [%2], %3;" ::"r"(to), "l"(map), "r"(barrier), "l"(policy), "r"(c0),
      "r"(c1), "r"(c2), "r"(c3), "r"(c4)
      : "memory");
}

// Asks the L2 for a box.
__device__ __forceinline__ void prefetch_box(const CUtensorMap* map, int c0, int c1, int c2) {
  asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global [%0, {%1, %2, %3}];" ::"l"(map), "r"(c0), "r"(c1), "r"(c2)
               : "memory");
}
__device__ __forceinline__ void prefetch_box(const CUtensorMap* map, int c0, int c1, int c2, int c3, int c4) {
  asm volatile("cp.async.bulk.prefetch.tensor.5d.L2.global [%0, {%1, %2, %3, %4, %5}];" ::"l"(map), "r"(c0), "r"(c1),
               "r"(c2), "r"(c3), "r"(c4)
               : "memory");
}

// Orders ordinary accesses to shared memory (cp.async among them) before later ones of wgmma and bulk copies.
__device__ __forceinline__ void async_proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Four 8 x 8 matrices of 16-bit elements to shared memory, transposed; lane l gives the address of row l % 8 of
// matrix l / 8, and holds of each matrix the elements (lane / 4, 2 (lane % 4)) and the next one before transposing.
__device__ __forceinline__ void store_matrices_transposed(uint32_t to, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(a), "r"(b),
               "r"(c), "r"(d)
               : "memory");
}
__device__ __forceinline__ void store_matrices_transposed(uint32_t to, uint32_t a, uint32_t b) {
  asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(to), "r"(a), "r"(b) : "memory");
}

__device__ __forceinline__ void store_matrices_transposed(uint32_t to, uint32_t a) {
  asm volatile("stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%0], {%1};" ::"r"(to), "r"(a) : "memory");
}

// ---- warps and launches -------------------------------------------------------------------------------------------

// All warps of a warpgroup, with the same number; multiples of 8.
template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// ---- matrix products of a warpgroup ---------------------------------------------------------------------------------

// A K-major tile of 128-byte rows at a shared address: 1024 bytes between groups of 8 rows. Adding k * 2 to the low
// word moves on by k * 16 elements of the row (32 bytes in units of 16).
__device__ __forceinline__ uint64_t descriptor(uint32_t address) {
  return (1ull << 62) | (64ull << 32) | (1ull << 16) | ((address & 0x3ffff) >> 4);
}

// An operand whose 64 contiguous elements of a row run along M or N (transposed; the tnspB forms): `step` bytes
// between one 64-wide slab and the next, 1024 between groups of 8 k.
__device__ __forceinline__ uint64_t transposed_descriptor(uint32_t address, uint32_t step) {
  return (1ull << 62) | (64ull << 32) | (static_cast<uint64_t>(step >> 4) << 16) | ((address & 0x3ffff) >> 4);
}

__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most kPending committed groups are unfinished.
template <int kPending>
__device__ __forceinline__ void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Keeps the compiler from moving accesses to accumulators over this place.
template <int kCount>
__device__ __forceinline__ void pin(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; i++) asm volatile("" : "+f"(d[i])::"memory");
}

// clang-format off
// Names of the first N / 2 operands, and the operands.
#define WEFT_NAMES_8 "%0,%1,%2,%3"
#define WEFT_NAMES_16 WEFT_NAMES_8 ",%4,%5,%6,%7"
#define WEFT_NAMES_32 WEFT_NAMES_16 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define WEFT_NAMES_48 WEFT_NAMES_32 ",%16,%17,%18,%19,%20,%21,%22,%23"
#define WEFT_NAMES_64 WEFT_NAMES_48 ",%24,%25,%26,%27,%28,%29,%30,%31"
#define WEFT_NAMES_80 WEFT_NAMES_64 ",%32,%33,%34,%35,%36,%37,%38,%39"
#define WEFT_NAMES_96 WEFT_NAMES_80 ",%40,%41,%42,%43,%44,%45,%46,%47"
#define WEFT_NAMES_112 WEFT_NAMES_96 ",%48,%49,%50,%51,%52,%53,%54,%55"
#define WEFT_NAMES_128 WEFT_NAMES_112 ",%56,%57,%58,%59,%60,%61,%62,%63"
#define WEFT_NAMES_144 WEFT_NAMES_128 ",%64,%65,%66,%67,%68,%69,%70,%71"
#define WEFT_NAMES_160 WEFT_NAMES_144 ",%72,%73,%74,%75,%76,%77,%78,%79"
#define WEFT_NAMES_192 WEFT_NAMES_160 ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define WEFT_NAMES_256 WEFT_NAMES_192 ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define WEFT_D4(o) "+f"(d[o]), "+f"(d[o + 1]), "+f"(d[o + 2]), "+f"(d[o + 3])
#define WEFT_D8(o) WEFT_D4(o), WEFT_D4(o + 4)
#define WEFT_D16(o) WEFT_D8(o), WEFT_D8(o + 8)
#define WEFT_D32(o) WEFT_D16(o), WEFT_D16(o + 16)
#define WEFT_OPERANDS_8 WEFT_D4(0)
#define WEFT_OPERANDS_16 WEFT_OPERANDS_8, WEFT_D4(4)
#define WEFT_OPERANDS_32 WEFT_OPERANDS_16, WEFT_D8(8)
#define WEFT_OPERANDS_48 WEFT_OPERANDS_32, WEFT_D8(16)
#define WEFT_OPERANDS_64 WEFT_OPERANDS_48, WEFT_D8(24)
#define WEFT_OPERANDS_80 WEFT_OPERANDS_64, WEFT_D8(32)
#define WEFT_OPERANDS_96 WEFT_OPERANDS_80, WEFT_D8(40)
#define WEFT_OPERANDS_112 WEFT_OPERANDS_96, WEFT_D8(48)
#define WEFT_OPERANDS_128 WEFT_OPERANDS_112, WEFT_D8(56)
#define WEFT_OPERANDS_144 WEFT_OPERANDS_128, WEFT_D8(64)
#define WEFT_OPERANDS_160 WEFT_OPERANDS_144, WEFT_D8(72)
#define WEFT_OPERANDS_192 WEFT_OPERANDS_160, WEFT_D16(80)
#define WEFT_OPERANDS_256 WEFT_OPERANDS_192, WEFT_D32(96)

// One width: the operands behind the accumulators are numbered N / 2 and on.
#define WEFT_PRODUCT(N, TYPE, A, B, P, T)                                                                        \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #P ", 0;\n"                                                  \
               "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" WEFT_NAMES_##N "}, %" #A       \
               ", %" #B ", p, 1, 1, 0, %" #T ";\n}"                                                               \
               : WEFT_OPERANDS_##N : "l"(a), "l"(b), "r"(accumulate), "n"(kTransposeB))
#define WEFT_PRODUCT_REGISTERS(N, TYPE, A0, A1, A2, A3, B, P, T)                                                 \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #P ", 0;\n"                                                  \
               "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" WEFT_NAMES_##N "}, {%" #A0     \
               ",%" #A1 ",%" #A2 ",%" #A3 "}, %" #B ", p, 1, 1, %" #T ";\n}"                                      \
               : WEFT_OPERANDS_##N                                                                               \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(kTransposeB))
#define WEFT_BOTH_TYPES(MACRO, N, ...)                             \
  if constexpr (kN == N) {                                         \
    if constexpr (std::is_same_v<E, Bf16>) {                       \
      MACRO(N, "bf16", __VA_ARGS__);                               \
    } else {                                                       \
      MACRO(N, "f16", __VA_ARGS__);                                \
    }                                                              \
  }

// d[64, N] (+)= a[64, 16] b[N, 16]^T, both from shared memory; accumulate 0 overwrites d. Lane l of warp w of the
// warpgroup holds in d[4 i + 2 h + j] the element (16 w + l / 4 + 8 h, 8 i + 2 (l % 4) + j). kTransposeB 1: b is [16, N].
// An array longer than N / 2 keeps its other elements.
template <class E, int kN, int kTransposeB = 0, int kHeld>
__device__ __forceinline__ void product(float (&d)[kHeld], uint64_t a, uint64_t b, int accumulate) {
  WEFT_BOTH_TYPES(WEFT_PRODUCT, 8, 4, 5, 6, 7)
  WEFT_BOTH_TYPES(WEFT_PRODUCT, 16, 8, 9, 10, 11)
  WEFT_BOTH_TYPES(WEFT_PRODUCT, 32, 16, 17, 18, 19)
  WEFT_BOTH_TYPES(WEFT_PRODUCT, 48, 24, 25, 26, 27)
  WEFT_BOTH_TYPES(WEFT_PRODUCT, 64, 32, 33, 34, 35)
  WEFT_BOTH_TYPES(WEFT_PRODUCT, 80, 40, 41, 42, 43)
  WEFT_BOTH_TYPES(WEFT_PRODUCT, 96, 48, 49, 50, 51)
  WEFT_BOTH_TYPES(WEFT_PRODUCT, 112, 56, 57, 58, 59)
  WEFT_BOTH_TYPES(WEFT_PRODUCT, 128, 64, 65, 66, 67)
  WEFT_BOTH_TYPES(WEFT_PRODUCT, 144, 72, 73, 74, 75)
  WEFT_BOTH_TYPES(WEFT_PRODUCT, 160, 80, 81, 82, 83)
  WEFT_BOTH_TYPES(WEFT_PRODUCT, 192, 96, 97, 98, 99)
  WEFT_BOTH_TYPES(WEFT_PRODUCT, 256, 128, 129, 130, 131)
}

// The same with a in registers: a[0], a[1] hold columns 2 (l % 4) and the next of rows l / 4 and l / 4 + 8; a[2] and
// a[3] those 8 columns on.
template <class E, int kN, int kTransposeB = 0, int kHeld>
__device__ __forceinline__ void product(float (&d)[kHeld], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  WEFT_BOTH_TYPES(WEFT_PRODUCT_REGISTERS, 8, 4, 5, 6, 7, 8, 9, 10)
  WEFT_BOTH_TYPES(WEFT_PRODUCT_REGISTERS, 16, 8, 9, 10, 11, 12, 13, 14)
  WEFT_BOTH_TYPES(WEFT_PRODUCT_REGISTERS, 32, 16, 17, 18, 19, 20, 21, 22)
  WEFT_BOTH_TYPES(WEFT_PRODUCT_REGISTERS, 48, 24, 25, 26, 27, 28, 29, 30)
  WEFT_BOTH_TYPES(WEFT_PRODUCT_REGISTERS, 64, 32, 33, 34, 35, 36, 37, 38)
  WEFT_BOTH_TYPES(WEFT_PRODUCT_REGISTERS, 80, 40, 41, 42, 43, 44, 45, 46)
  WEFT_BOTH_TYPES(WEFT_PRODUCT_REGISTERS, 96, 48, 49, 50, 51, 52, 53, 54)
  WEFT_BOTH_TYPES(WEFT_PRODUCT_REGISTERS, 112, 56, 57, 58, 59, 60, 61, 62)
  WEFT_BOTH_TYPES(WEFT_PRODUCT_REGISTERS, 128, 64, 65, 66, 67, 68, 69, 70)
  WEFT_BOTH_TYPES(WEFT_PRODUCT_REGISTERS, 144, 72, 73, 74, 75, 76, 77, 78)
  WEFT_BOTH_TYPES(WEFT_PRODUCT_REGISTERS, 160, 80, 81, 82, 83, 84, 85, 86)
  WEFT_BOTH_TYPES(WEFT_PRODUCT_REGISTERS, 192, 96, 97, 98, 99, 100, 101, 102)
  WEFT_BOTH_TYPES(WEFT_PRODUCT_REGISTERS, 256, 128, 129, 130, 131, 132, 133, 134)
}
// clang-format on

}  // namespace weft::hopper
