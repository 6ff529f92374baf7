// MoBA backward for F16 and BF16 on Hopper: products of warpgroups (wgmma), up to 128 dimensions, inputs with rows
// of 16 aligned bytes. backward.cuh has the mathematics; other shapes go to backward_mma.cuh.
//
// A thread block is three warpgroups. One copies (cp.async; bulk tensor copies cannot gather rows), two compute, each
// with 64 of the 128 stationary rows X. Streamed tiles Y have 64 rows. S and dP come from shared memory and lie in
// registers; rounded, they are operands there of the products that follow, so that nothing passes through shared
// memory twice. One warpgroup's exponentials hide behind the other's products.
//
// Registers: sums 64 + 64 (keys, 128 dimensions), S and dP 32 + 32. Shared memory for 128 dimensions: X 64 KiB,
// twice, as the next is loaded meanwhile; Y 32 KiB, three stages.
//
// Here is what both sides have in common: shared memory, copies of rows, products. backward_keys.cuh has the kernel that
// keeps keys, backward_rows.cuh those that keep rows of queries, backward_merge.cuh the sum of what these leave.
#pragma once
#include "../../common/hopper.cuh"
#include "../backward_seen.cuh"

namespace weft::moba {

__device__ __forceinline__ void copyAsync8(const void* to, const void* from, bool live) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(hopper::shared_address(to)), "l"(from),
               "r"(live ? 8 : 0)
               : "memory");
}

// A place in a ring of kCount buffers, and the parity of the barrier that ends its use.
template <int kCount>
struct Ring {
  int at = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void next() {
    if (++at == kCount) {
      at = 0;
      parity ^= 1;
    }
  }
};

// kSide: what lies in X. Item: what the copying warpgroup tells the others about it.
template <class E, int DP, Side kSide, class Item>
struct BackwardWgmma {
  static constexpr int kThreads = 384, kCopyThreads = 128, kComputeWarps = 8;
  static constexpr int kRows = 128, kTile = 64, kPanels = DP / 64;
  static constexpr int kStages = DP == 64 ? 6 : 3;
  static constexpr int kBuffers = 2;
  static constexpr int kXPanel = kRows * 128, kYPanel = kTile * 128;  // bytes
  static constexpr int kXBytes = kPanels * kXPanel, kYBytes = kPanels * kYPanel;
  static constexpr int kStats = kSide == Side::kKeys ? kStages * kTile : kBuffers * kRows;
  static constexpr int kCopyRegisters = 56, kComputeRegisters = 224;

  struct Shared {
    alignas(1024) unsigned char x[kBuffers][2][kXBytes];
    alignas(1024) unsigned char y[kStages][2][kYBytes];
    float2 stats[kStats];
    Item items[kBuffers];
    uint32_t next[2];  // kKeys: work that the copying warpgroup has taken
    uint64_t full[kStages], empty[kStages], filled[kBuffers], drained[kBuffers];
  };

  const BackwardArguments& a;
  Shared& s;
  int lane = threadIdx.x % 32;

  __device__ __forceinline__ BackwardWgmma(const BackwardArguments& a, Shared& s) : a(a), s(s) {}

  static __device__ __forceinline__ uint32_t address(const void* p) { return hopper::shared_address(p); }

  // ---- copying -------------------------------------------------------------------------------------------------

  static constexpr int kLanes = 8, kAtOnce = kCopyThreads / kLanes;  // threads of a row, rows at a time

  // This thread's part of a row: chunks of 8 elements, zeros beyond the width or where there is no row.
  template <int kPanelBytes>
  static __device__ __forceinline__ void copyRow(uint32_t tile, int row, const uint16_t* from, int width, bool exists) {
    int chunk = threadIdx.x % kLanes;
    uint32_t to = tile + hopper::swizzled(row, chunk);
#pragma unroll
    for (int panel = 0; panel < kPanels; panel++) {
      int column = panel * 64 + chunk * 8;
      bool live = exists && column < width;
      hopper::copy_async_16(to + panel * kPanelBytes, live ? from + column : from, live ? 16 : 0);
    }
  }

  // Of a tile, each lane looks after one row of queries, so that its place is worked out once and not by every thread
  // that copies a part of it: of 64 rows the lower half of each warp does, of 128 all.
  static __device__ __forceinline__ int rowOfLane() { return threadIdx.x % 32 / 4 * kAtOnce + threadIdx.x / 32 * 4 + threadIdx.x % 4; }

  struct Place {
    const uint16_t *q, *dout;
    const float2* stats;
    bool exists;
  };

  __device__ __forceinline__ Place placeOf(QueryRow r) const {
    i64 token = r.exists() ? r.token : 0, head = r.exists() ? r.head : 0;
    return {static_cast<const uint16_t*>(a.q.base) + token * a.q.tokenPitch + head * a.q.headPitch,
            static_cast<const uint16_t*>(a.dout.base) + token * a.dout.tokenPitch + head * a.dout.headPitch,
            a.stats + token * a.heads + head, r.exists()};
  }

  // A tile of kCount rows, of which each lane has the place of one.
  template <int kCount, int kPanelBytes>
  __device__ __forceinline__ void copyQueries(const void* tileQ, const void* tileDout, float2* stats, const Place& place) {
    uint32_t exists = __ballot_sync(~0u, place.exists);
    if (kCount == 8 * kAtOnce || lane < kCount / kAtOnce * 4) copyAsync8(stats + rowOfLane(), place.stats, place.exists);
#pragma unroll
    for (int i = 0; i < kCount / kAtOnce; i++) {
      int row = i * kAtOnce + threadIdx.x / kLanes, from = i * 4 + lane / kLanes;
      auto q = __shfl_sync(~0u, reinterpret_cast<unsigned long long>(place.q), from);
      auto dout = __shfl_sync(~0u, reinterpret_cast<unsigned long long>(place.dout), from);
      bool live = exists >> from & 1;
      copyRow<kPanelBytes>(address(tileQ), row, reinterpret_cast<const uint16_t*>(q), a.dim, live);
      copyRow<kPanelBytes>(address(tileDout), row, reinterpret_cast<const uint16_t*>(dout), a.valueDim, live);
    }
  }

  template <int kPanelBytes>
  __device__ __forceinline__ void copyKey(const void* tileK, const void* tileV, int row, i64 token, int kvHead, bool exists) {
    if (!exists) token = 0;
    copyRow<kPanelBytes>(address(tileK), row,
                         static_cast<const uint16_t*>(a.k.base) + token * a.k.tokenPitch + kvHead * a.k.headPitch, a.dim, exists);
    copyRow<kPanelBytes>(address(tileV), row,
                         static_cast<const uint16_t*>(a.v.base) + token * a.v.tokenPitch + kvHead * a.v.headPitch, a.valueDim,
                         exists);
  }

  // ---- products ------------------------------------------------------------------------------------------------

  // d = the warpgroup's 64 rows of X times Y^T.
  static __device__ __forceinline__ void scores(float (&d)[kTile / 2], uint32_t x, uint32_t y) {
    uint64_t dx = hopper::descriptor(x), dy = hopper::descriptor(y);
#pragma unroll
    for (int k = 0; k < DP / 16; k++) {
      hopper::product<E, kTile>(d, dx + k / 4 * (kXPanel / 16) + k % 4 * 2, dy + k / 4 * (kYPanel / 16) + k % 4 * 2, k > 0);
    }
  }

  // d += w Y, w rounded in registers.
  static __device__ __forceinline__ void gather(float (&d)[DP / 2], const uint32_t (&w)[kTile / 16][4], uint32_t y) {
#pragma unroll
    for (int k = 0; k < kTile / 16; k++) {
      hopper::product<E, DP, 1>(d, w[k], hopper::transposed_descriptor(y + k * 2048, kYPanel), 1);
    }
  }

  static __device__ __forceinline__ void round(uint32_t (&w)[kTile / 16][4], const float (&d)[kTile / 2]) {
#pragma unroll
    for (int k = 0; k < kTile / 16; k++) {
#pragma unroll
      for (int i = 0; i < 4; i++) w[k][i] = E::narrowPair(d[8 * k + 2 * i], d[8 * k + 2 * i + 1]);
    }
  }

  // ---- between the warpgroups ----------------------------------------------------------------------------------

  // X is on its way, and this is what it is.
  __device__ __forceinline__ void publish(Ring<kBuffers>& buffers, const Item& item) {
    if (threadIdx.x == 0) {
      s.items[buffers.at] = item;
      hopper::barrier_arrive(address(&s.filled[buffers.at]));
    }
    hopper::barrier_arrive_after_copies(address(&s.filled[buffers.at]));
    buffers.next();
  }

  // This warp needs a stage no more.
  __device__ __forceinline__ void release(int stage) {
    __syncwarp();
    if (lane == 0) hopper::barrier_arrive(address(&s.empty[stage]));
  }

  // The whole of a thread block: Kernel's copy() is for the first warpgroup, its compute(number) for the others.
  template <class Kernel>
  __device__ __forceinline__ void run(Kernel& kernel) {
    if (threadIdx.x == 0) {
      for (int i = 0; i < kStages; i++) {
        hopper::barrier_init(address(&s.full[i]), kCopyThreads);
        hopper::barrier_init(address(&s.empty[i]), kComputeWarps);
      }
      for (int i = 0; i < kBuffers; i++) {
        hopper::barrier_init(address(&s.filled[i]), kCopyThreads + 1);
        hopper::barrier_init(address(&s.drained[i]), kComputeWarps);
      }
      hopper::barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x < kCopyThreads) {
      hopper::give_registers<kCopyRegisters>();
      kernel.copy();
      asm volatile("cp.async.wait_all;" ::: "memory");
    } else {
      hopper::take_registers<kComputeRegisters>();
      int warpgroup = threadIdx.x / 128 - 1;
      kernel.compute(warpgroup);
    }
  }
};

}  // namespace weft::moba
