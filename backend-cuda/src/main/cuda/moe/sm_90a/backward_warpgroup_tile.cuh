// Tiles of matrix products for the backward pass on Hopper, with the contract of backward_tile.cuh: 128 x 256 a block
// of two warpgroups, which have 64 rows each and all columns (128 accumulators a thread).
//
// Larger tiles than those of mma.sync, because gathered rows go through the L2 to one multiprocessor each: a step of
// 64 k moves 48 KB for twice the products of a 128 x 128 tile's 32 KB. Operands along k are products of transposed
// shared tiles, so nothing is transposed by hand.
//
// Four stages of 64 k. All threads fill them by cp.async, two steps ahead; each warpgroup's products of a step run
// while the next step's copies are issued. A stage is filled again two steps after its products were started: by
// then both warpgroups have waited for them.
//
// Shared memory of a stage: 64 elements (128 bytes) a row, swizzled. By k: row m (or n) of 64 k. Along k: slabs of
// 64 m (or n), in each of them row k.
#pragma once
#include "../../common/hopper.cuh"
#include "../backward_tile.cuh"

namespace weft {
namespace moe_backward {

// d[64, 256] += a b, either of them along k where its flag is 1.
template <class E, int kAlongA, int kAlongB>
__device__ __forceinline__ void wideProduct(float (&d)[128], uint64_t a, uint64_t b) {
#define WEFT_WIDE_PRODUCT(TYPE)                                                                                    \
  asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32." TYPE "." TYPE " {" WEFT_NAMES_256                   \
               "}, %128, %129, 1, 1, 1, %130, %131;"                                                               \
               : WEFT_OPERANDS_256                                                                                 \
               : "l"(a), "l"(b), "n"(kAlongA), "n"(kAlongB))
  if constexpr (std::is_same_v<E, Bf16>) {
    WEFT_WIDE_PRODUCT("bf16");
  } else {
    WEFT_WIDE_PRODUCT("f16");
  }
#undef WEFT_WIDE_PRODUCT
}

template <class E, bool kAByK, bool kBByK>
struct WarpgroupTile {
  static constexpr int kColumns = 256;
  static constexpr bool kLowParts = std::is_same_v<E, F16>;
  static constexpr int kDepth = 64;
  static constexpr int kStages = 4;
  static constexpr int kAhead = 2;  // steps that copies are ahead of products
  static constexpr int kBytesA = Copier<true, kTile>::kBytes, kBytesB = Copier<true, kColumns>::kBytes;
  static constexpr int kStageBytes = kBytesA + kBytesB;
  static constexpr int kSlabBytes = Copier<true, kTile>::kSlabBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  static_assert(kSharedBytes >= kTileBytes<kColumns>, "a finished tile lies where the stages were");

  struct Sums {
    float d[128];

    __device__ __forceinline__ void scale(float factor) {
#pragma unroll
      for (int i = 0; i < 128; i++) d[i] *= factor;
    }
  };

  static __device__ __forceinline__ void add(Sums& sums, const Operand& a, const Operand& b, int depth, char* shared) {
    const int warpgroup = threadIdx.x >> 7;
    const uint32_t base = sharedAddress(shared);
    Copier<kAByK, kTile> copyA;
    Copier<kBByK, kColumns> copyB;
    copyA.prepare(a);
    copyB.prepare(b);
    const int steps = (depth + kDepth - 1) / kDepth;
#pragma unroll
    for (int s = 0; s < kAhead; s++) {
      if (s < steps) {
        copyA.copy(a, s * kDepth, shared + s * kStageBytes);
        copyB.copy(b, s * kDepth, shared + s * kStageBytes + kBytesA);
      }
      commitCopies();
    }
    hopper::pin(sums.d);  // products find their accumulators in registers
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
      awaitCopies<kAhead - 1>();
      hopper::async_proxy_fence();
      __syncthreads();  // the stage has landed; products of two steps ago are done
      const uint32_t stage = base + step % kStages * kStageBytes;
      // 64 rows, or one slab, for each warpgroup: 8 KB either way.
      const uint32_t atA = stage + warpgroup * kSlabBytes, atB = stage + kBytesA;
      uint64_t left = kAByK ? hopper::descriptor(atA) : hopper::transposed_descriptor(atA, kSlabBytes);
      uint64_t right = kBByK ? hopper::descriptor(atB) : hopper::transposed_descriptor(atB, kSlabBytes);
      hopper::products_begin();
#pragma unroll
      for (int k = 0; k < kDepth / 16; k++) {  // 16 k: 32 bytes of a row, or 16 rows
        wideProduct<E, kAByK ? 0 : 1, kBByK ? 0 : 1>(sums.d, left + k * (kAByK ? 2 : 128), right + k * (kBByK ? 2 : 128));
      }
      hopper::products_commit();
      int next = step + kAhead;
      if (next < steps) {
        char* target = shared + next % kStages * kStageBytes;
        copyA.copy(a, next * kDepth, target);
        copyB.copy(b, next * kDepth, target + kBytesA);
      }
      commitCopies();
      hopper::products_wait<1>();
    }
    hopper::products_wait<0>();
    hopper::pin(sums.d);
    awaitCopies<0>();
    __syncthreads();
  }

  static __device__ __forceinline__ void finish(const Sums& sums, char* shared) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    float* tile = reinterpret_cast<float*>(shared);
#pragma unroll
    for (int i = 0; i < kColumns / 8; i++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float* at = tile + (warp * 16 + lane / 4 + 8 * h) * kPitch<kColumns> + 8 * i + 2 * (lane & 3);
        *reinterpret_cast<float2*>(at) = make_float2(sums.d[4 * i + 2 * h], sums.d[4 * i + 2 * h + 1]);
      }
    }
    __syncthreads();
  }
};

}  // namespace moe_backward
}  // namespace weft
