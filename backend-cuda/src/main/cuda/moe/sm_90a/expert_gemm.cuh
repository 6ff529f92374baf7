// Products of experts on Hopper: out[p, c] = sum_k rows[p, k] weight_e[c, k] over the sorted rows p of each expert e,
// for equal 16-bit types and 16-byte aligned rows. Both projections are this kernel; the first one takes gate and up
// together and stores the activation.
//
// Layout of the work
//   The matrix unit's M runs over weights and its N over tokens. So N fits the rows that an expert really has, in steps
//   of 8 to 32 (few rows waste little), weights stream through the copy engine, and the same kernel serves a decode step
//   and a long prompt; only the tile differs (Shape below).
//   A work item is (expert, weight tile, token tile). Token tiles of one weight tile are neighbours, so that they share
//   it through the L2. Blocks run one on a multiprocessor and take one item after the other: by stride, or from a
//   counter, so that faster multiprocessors take more. Which block computes an item changes nothing in its result.
//   Every block counts the token tiles of all experts by itself, from the offsets: no tile list, no host round trip.
//
// Layout of a block: three warpgroups
//   warp 0      brings weights: one tensor map box for each 64 columns of K (128-byte swizzle). It runs ahead of all
//               others, and where the launch overlaps its predecessor it starts before that one's results are there.
//   warps 1..3  gather token rows by cp.async, 16 bytes a thread, into the same swizzle.
//   groups 1, 2 multiply: each has kBlocks * 64 weight rows and all tokens of the tile.
//   A ring of kStages stages passes between them; a stage's `full` barrier counts the gathering threads and the bytes
//   of the boxes, its `empty` barrier the 8 multiplying warps.
//
// Gate and up in one tile: g and u of one column have to meet in a thread's registers, so that the activation needs no
//   exchange. Where a warpgroup has two m64 products, one is of gate rows, the other of the same up rows, and each has a
//   tensor map of its own. Where it has one, weight rows alternate in groups of 8, gate then up: a warp's m16 part of a
//   product holds rows r and r + 8 in the same thread. The tensor map makes that order from any layout: its dimensions
//   are K, 8 rows, {gate, up}, groups of 8 rows, expert.
//
// Results go through shared memory (stmatrix, transposed) so that threads store 16 bytes of a token's row.
#pragma once
#include "../../common/hopper.cuh"
#include "../experts.cuh"

namespace weft::experts {

using namespace weft::hopper;

struct Arguments {  // as HopperExperts.java writes it
  CUtensorMap weights;
  CUtensorMap upWeights;   // with two m64 products of a warpgroup; then `weights` is the gate's
  CUtensorMap tokenMap;    // of `rows`, for kernels that need no gathering
  const void* rows;        // the tokens' operand: [tokens, depth] of x, or [rows, depth] of act
  void* out;               // act, in sorted order, or out, in slot order
  const int* source;       // null: the operand's row p is sorted row p; else it is row source[p] / topK
  const int* target;       // null: out's row p is sorted row p; else it is row target[p]
  const int* offsets;      // [experts + 1]; null: one expert has all tokens there are
  const int* tokenCount;   // null, or [1]
  int* nextItem;           // null: items by stride; else a counter that is 0, of the items that blocks took
  WeightRows firstBias;    // of the gate, or of the only product
  WeightRows secondBias;   // of up
  i64 rowPitch;
  i64 outPitch;
  int firstToken;
  int tokens;
  int experts;
  int topK;
  int depth;               // K
  int width;               // columns of out
  int weightTiles;         // of kBlocks * 128 rows each
  int activation;          // of the first projection; -1: none
  int upFirst;             // in the groups of 8 rows up comes before gate
  float alpha;
  float limit;
  int askedSteps;          // of the first items' weights, for which the L2 is asked; ExpertStream
  // Not for ExpertStream:
  int stride;              // blocks b and b + stride begin itemsOfBlock * stride items apart
  int itemsOfBlock;        // the most that a block takes
  int overlapped;          // the launch starts before its predecessor, whose results are `rows`, has ended
};

constexpr int kMostExperts = 768;
constexpr int kThreads = 384;

// Items that the bringing thread has claimed and others may not have seen. It claims one while the last step of the one
// before waits for a stage, and each item before that has a stage of its own at least: so it is kStages + 1 ahead at most.
constexpr int kClaims = 8;

// kBlocks: m64 products of a multiplying warpgroup for one k. kTokens: the most rows of a token tile. kSlabs: 64
// columns of K each, of a stage. kSplit: the two warpgroups share the weight rows and split the slabs instead, for
// launches with too few weight rows to occupy the device.
template <int kBlocks_, int kTokens_, int kSlabs_, int kStages_, bool kSplit_ = false, int kResident_ = 1>
struct Shape {
  static constexpr int kBlocks = kBlocks_, kTokens = kTokens_, kSlabs = kSlabs_, kStages = kStages_;
  static constexpr bool kSplit = kSplit_;
  static constexpr int kResident = kResident_;  // blocks that a multiprocessor holds
  static constexpr int kWeightRows = 64 * kBlocks * (kSplit ? 1 : 2);
  static constexpr int kTokenBox = kTokens <= 64 ? 8 : 32;  // rows of a copy of tokens
  static constexpr int kWeightSlab = kWeightRows * 128, kTokenSlab = kTokens * 128;
  static constexpr int kStageBytes = kSlabs * (kWeightSlab + kTokenSlab);
  static constexpr int kMostStaging = kTokens <= 32 ? 4096 : kTokens <= 64 || kTokens > 128 ? 8192 : 16384;
  static constexpr int kAllStaging = kTokens * kBlocks * (kSplit ? 256 : 128);
  static constexpr int kStaging = kAllStaging < kMostStaging ? kAllStaging : kMostStaging;  // of a warpgroup
  static constexpr int kBarriersAt = kStages * kStageBytes + 2 * kStaging;
  static constexpr int kClaimsAt = kBarriersAt + kStages * 16;  // a barrier and a number (8 bytes) for each of kClaims
  static constexpr int kTilesAt = kClaimsAt + 16 * kClaims;
  // Then the experts' first tiles, 4 bytes each, and sums of warps.
  static constexpr int kBytesButExperts = kTilesAt + 4 + 48;
  static_assert(kStages + 2 <= kClaims);
  static_assert(!kSplit || kStaging == 256 * kTokens, "the sums of a warpgroup lie in the staging of one");
  static_assert(kBytesButExperts + 4 * 512 <= 227 * 1024 / kResident);
};

struct Item {
  int expert;
  int weightTile;
  int begin;  // first sorted row
  int rows;
};

// kDense: the operand's row p is sorted row p, so that the copy engine brings tokens too.
template <class E, class S, bool kGated, bool kDense>
struct ExpertGemm {
  static constexpr int kBlocks = S::kBlocks, kTokens = S::kTokens, kSlabs = S::kSlabs, kStages = S::kStages;
  static constexpr bool kSplit = S::kSplit;
  static constexpr bool kPaired = kGated && kBlocks == 2;  // gate and up are products, not rows of one
  static constexpr int kGatherThreads = 96, kRowsPerPass = kGatherThreads / 8;
  static constexpr int kPasses = (kTokens + kRowsPerPass - 1) / kRowsPerPass;

  // Registers of a thread: 128 (kBringing + 2 kMultiplying) is what 384 threads have.
  static constexpr int kBringing = kDense ? 40 : 56;
  static constexpr int kMultiplying = kDense ? 232 : 224;

  const Arguments& a;
  uint32_t shared;
  int* tileStarts;  // [experts + 1]

  __device__ __forceinline__ uint32_t weightsAt(int stage) const { return shared + stage * S::kStageBytes; }
  __device__ __forceinline__ uint32_t tokensAt(int stage) const { return weightsAt(stage) + kSlabs * S::kWeightSlab; }
  __device__ __forceinline__ uint32_t full(int stage) const { return shared + S::kBarriersAt + stage * 16; }
  __device__ __forceinline__ uint32_t empty(int stage) const { return full(stage) + 8; }
  __device__ __forceinline__ uint32_t claimed(int claim) const { return shared + S::kClaimsAt + claim % kClaims * 16; }

  __device__ __forceinline__ int offset(int expert) const {
    if (a.offsets == nullptr) {
      return expert == 0 ? 0 : a.tokenCount == nullptr ? a.tokens : min(max(__ldg(a.tokenCount) - a.firstToken, 0), a.tokens);
    }
    return __ldg(a.offsets + expert);
  }

  // Token tiles before each expert: a scan over the block, two experts a thread.
  __device__ __forceinline__ void countTiles() {
    int* sums = tileStarts + a.experts + 1;
    int t = threadIdx.x, lane = t & 31, warp = t >> 5;
    int first = 0, second = 0;
    if (2 * t < a.experts) {
      int begin = offset(2 * t), middle = offset(2 * t + 1);
      first = (middle - begin + kTokens - 1) / kTokens;
      if (2 * t + 1 < a.experts) second = (offset(2 * t + 2) - middle + kTokens - 1) / kTokens;
    }
    int sum = first + second;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      int other = __shfl_up_sync(~0u, sum, d);
      if (lane >= d) sum += other;
    }
    if (lane == 31) sums[warp] = sum;
    __syncthreads();
    for (int w = 0; w < warp; w++) sum += sums[w];
    if (2 * t < a.experts) {
      tileStarts[2 * t] = sum - first - second;
      tileStarts[2 * t + 1] = sum - second;  // of expert 2 t + 1, or the total
      if (2 * t + 1 < a.experts) tileStarts[2 * t + 2] = sum;  // the next thread's first, the same number
    }
    __syncthreads();
  }

  // Items in ascending order; `item.expert` is where the last search ended.
  __device__ __forceinline__ void locate(i64 number, Item& item) const {
    int quotient = static_cast<int>(number / a.weightTiles);  // between the tiles of the expert
    int e = item.expert;
    while (tileStarts[e + 1] <= quotient) e++;
    int start = tileStarts[e], tiles = tileStarts[e + 1] - start;
    int local = static_cast<int>(number - static_cast<i64>(start) * a.weightTiles);
    int tile = local % tiles;
    int begin = offset(e), rows = offset(e + 1) - begin;
    int each = ((rows + tiles - 1) / tiles + 7) & ~7;  // tiles of one size waste less than a short last one
    item.expert = e;
    item.weightTile = local / tiles;
    item.begin = begin + tile * each;
    item.rows = min(each, rows - tile * each);
  }

  // The items of a block, as each of its threads sees them one after the other. Only the thread that brings weights
  // claims; the others wait for what it publishes.
  struct Items {
    i64 number;
    i64 end;
    int claim;
  };

  __device__ __forceinline__ void publish(Items& items) const {
    items.number = atomicAdd(a.nextItem, 1);
    uint32_t at = claimed(items.claim++);
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(at + 8), "r"(static_cast<int>(items.number)) : "memory");
    barrier_arrive(at);
  }
  __device__ __forceinline__ void receive(Items& items) const {
    uint32_t at = claimed(items.claim);
    barrier_wait(at, items.claim / kClaims & 1);
    items.claim++;
    int number;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(number) : "r"(at + 8) : "memory");
    items.number = number;
  }
  template <bool kClaiming>
  __device__ __forceinline__ Items firstItem() const {
    i64 all = static_cast<i64>(tileStarts[a.experts]) * a.weightTiles;
    Items items{static_cast<i64>(blockIdx.x / a.stride) * a.stride * a.itemsOfBlock + blockIdx.x % a.stride, all, 0};
    if (a.nextItem == nullptr) {
      items.end = min(all, static_cast<i64>(blockIdx.x / a.stride + 1) * a.stride * a.itemsOfBlock);
    } else if (kClaiming) {
      publish(items);
    } else {
      receive(items);
    }
    return items;
  }
  template <bool kClaiming>
  __device__ __forceinline__ void nextItem(Items& items) const {
    if (a.nextItem == nullptr) {
      items.number += a.stride;
    } else if (!kClaiming) {
      receive(items);
    }  // else it was claimed with the last step
  }
  __device__ __forceinline__ int steps() const { return (a.depth + 64 * kSlabs - 1) / (64 * kSlabs); }

  __device__ __forceinline__ void bringWeights() {
    if ((threadIdx.x & 31) != 0) return;
    Item item{};
    int stage = 0;
    uint32_t parity = 1;
    for (Items items = firstItem<true>(); items.number < items.end; nextItem<true>(items)) {
      locate(items.number, item);
      for (int step = 0; step < steps(); step++) {
        if (step + 1 == steps() && a.nextItem != nullptr) publish(items);  // while the ring is still full
        barrier_wait(empty(stage), parity);
        barrier_arrive_expect(full(stage), kSlabs * S::kWeightSlab);
#pragma unroll
        for (int s = 0; s < kSlabs; s++) {
          uint32_t to = weightsAt(stage) + s * S::kWeightSlab;
          int k = (step * kSlabs + s) * 64;
          if constexpr (kPaired) {
            copy_box(to, &a.weights, full(stage), kEvictNormal, k, item.weightTile * 128, item.expert);
            copy_box(to + 16384, &a.upWeights, full(stage), kEvictNormal, k, item.weightTile * 128, item.expert);
          } else if constexpr (kGated) {
            copy_box(to, &a.weights, full(stage), kEvictNormal, k, 0, 0, item.weightTile * (S::kWeightRows / 16),
                     item.expert);
          } else {
            copy_box(to, &a.weights, full(stage), kEvictNormal, k, item.weightTile * S::kWeightRows, item.expert);
          }
        }
        if (++stage == kStages) {
          stage = 0;
          parity ^= 1;
        }
      }
    }
  }

  __device__ __forceinline__ void bringTokens() {
    if ((threadIdx.x & 31) != 0) return;
    if (a.overlapped) wait_for_predecessor();
    Item item{};
    int stage = 0;
    uint32_t parity = 1;
    for (Items items = firstItem<false>(); items.number < items.end; nextItem<false>(items)) {
      locate(items.number, item);
      int boxes = (item.rows + S::kTokenBox - 1) / S::kTokenBox;
      for (int step = 0; step < steps(); step++) {
        barrier_wait(empty(stage), parity);
        barrier_arrive_expect(full(stage), kSlabs * boxes * S::kTokenBox * 128);
#pragma unroll
        for (int s = 0; s < kSlabs; s++) {
          for (int b = 0; b < boxes; b++) {
            copy_box(tokensAt(stage) + s * S::kTokenSlab + b * S::kTokenBox * 128, &a.tokenMap, full(stage),
                     kEvictNormal, (step * kSlabs + s) * 64, item.begin + b * S::kTokenBox);
          }
        }
        if (++stage == kStages) {
          stage = 0;
          parity ^= 1;
        }
      }
    }
  }

  __device__ __forceinline__ void gatherTokens() {
    if (a.overlapped) wait_for_predecessor();
    int thread = threadIdx.x - 32, chunk = thread & 7, first = thread >> 3;
    uint32_t pitch = static_cast<uint32_t>(a.rowPitch >> 3);  // in chunks
    Item item{};
    int stage = 0;
    uint32_t parity = 1;
    for (Items items = firstItem<false>(); items.number < items.end; nextItem<false>(items)) {
      locate(items.number, item);
      uint32_t at[kPasses];  // the row's chunk, in chunks from the operand's start
#pragma unroll
      for (int i = 0; i < kPasses; i++) {
        int r = first + i * kRowsPerPass;
        int p = item.begin + min(r, item.rows - 1);
        at[i] = (a.source == nullptr ? p : __ldg(a.source + p) / a.topK) * pitch + chunk;
      }
      for (int step = 0; step < steps(); step++) {
        barrier_wait(empty(stage), parity);
#pragma unroll
        for (int s = 0; s < kSlabs; s++) {
          int k = (step * kSlabs + s) * 8;  // in chunks
          uint32_t to = tokensAt(stage) + s * S::kTokenSlab;
          bool inside = (k + chunk) * 8 < a.depth;
#pragma unroll
          for (int i = 0; i < kPasses; i++) {
            int r = first + i * kRowsPerPass;
            if (r < item.rows) {
              const char* from = static_cast<const char*>(a.rows) + (static_cast<uint64_t>(at[i]) + k) * 16;
              copy_async_16(to + swizzled(r, chunk), inside ? from : a.rows, inside ? 16 : 0);
            }
          }
        }
        barrier_arrive_after_copies(full(stage));
        if (++stage == kStages) {
          stage = 0;
          parity ^= 1;
        }
      }
    }
  }

  struct Ring {
    int stage;
    uint32_t parity;
    __device__ __forceinline__ void advance() {
      if (++stage == kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
  };

  using Sums = float[kBlocks][kTokens / 2];

  // All `last` steps of an item with kN columns of tokens. The columns beyond the item's rows multiply whatever lies there;
  // they are not stored.
  template <int kN>
  __device__ __forceinline__ void multiply(Sums& d, Ring& ring, int group, int last) {
    uint32_t release = 0;
    for (int step = 0; step < last; step++) {
      barrier_wait(full(ring.stage), ring.parity);
      async_proxy_fence();
      products_begin();
#pragma unroll
      for (int i = 0; i < kSlabs / (kSplit ? 2 : 1); i++) {
        int s = kSplit ? group * (kSlabs / 2) + i : i;
        int block = kSplit ? 0 : kPaired ? group : group * kBlocks;  // of 64 rows: the group's first
        uint64_t weights = descriptor(weightsAt(ring.stage) + s * S::kWeightSlab + block * 8192);
        uint64_t tokens = descriptor(tokensAt(ring.stage) + s * S::kTokenSlab);
#pragma unroll
        for (int k = 0; k < 4; k++) {
#pragma unroll
          for (int b = 0; b < kBlocks; b++) {
            product<E, kN>(d[b], weights + b * (kPaired ? 1024 : 512) + k * 2, tokens + k * 2, step + i + k > 0);
          }
        }
      }
      products_commit();
      products_wait<1>();  // the step before is done
      if (step > 0 && (threadIdx.x & 31) == 0) barrier_arrive(release);
      release = empty(ring.stage);
      ring.advance();
    }
    products_wait<0>();
    if ((threadIdx.x & 31) == 0) barrier_arrive(release);
  }

  // The usual activation without a branch, so that the latencies of many values overlap.
  template <bool kUsual>
  __device__ __forceinline__ float activated(float g, float u) const {
    return kUsual ? g * __fdividef(1.0f, 1.0f + __expf(-g)) * u : activate(a.activation, a.alpha, a.limit, g, u);
  }

  static __device__ __forceinline__ float element(const WeightRows& rows, int expert, int row, int width) {
    return rows.base == nullptr || row >= width ? 0.0f : E::widen(
        __ldg(static_cast<const unsigned short*>(rows.base) + expert * rows.expert + row * rows.row), 0);
  }

  __device__ __forceinline__ void store(const Item& item, const Sums& d, int group) {
    if (a.activation == (kGated ? kSwiglu : -1)) {
      store<true>(item, d, group);
    } else {
      store<false>(item, d, group);
    }
  }

  template <bool kUsual>
  __device__ __forceinline__ void store(const Item& item, const Sums& d, int group) {
    constexpr int kN = kTokens;
    constexpr int kMatrices = kGated ? kBlocks : 2 * kBlocks;  // 8 x 8, of a warp for 8 tokens
    constexpr int kColumns = kGated ? 32 * kBlocks : 64 * kBlocks;  // of a warpgroup
    constexpr int kRowBytes = 2 * kColumns, kChunks = kRowBytes / 16;
    constexpr int kAtOnce = S::kStaging / kRowBytes < kN ? S::kStaging / kRowBytes : kN;  // tokens
    static_assert(kAtOnce % 8 == 0, "staged by 8 tokens");
    int thread = threadIdx.x & 127, lane = thread & 31, warp = thread >> 5;
    uint32_t staging = shared + kStages * S::kStageBytes + group * S::kStaging;
    int firstColumn = (kSplit ? item.weightTile : item.weightTile * 2 + group) * kColumns;

    float bias[kMatrices], upBias[kMatrices];
#pragma unroll
    for (int m = 0; m < kMatrices; m++) {
      int column = firstColumn + lane / 4 + (kGated && !kPaired ? m * 32 + warp * 8 : (m >> 1) * 64 + warp * 16 + (m & 1) * 8);
      bias[m] = element(a.firstBias, item.expert, column, a.width);
      upBias[m] = kGated ? element(a.secondBias, item.expert, column, a.width) : 0.0f;
    }
#pragma unroll
    for (int start = 0; start < kN; start += kAtOnce) {
      if (start >= item.rows) break;
      named_barrier(1 + group, 128);  // the buffer has been read
#pragma unroll
      for (int i = start / 8; i < (start + kAtOnce) / 8 && i < kN / 8; i++) {
        if (kTokens < 128 && i * 8 >= item.rows) break;
        uint32_t packed[kMatrices];
#pragma unroll
        for (int m = 0; m < kMatrices; m++) {
          float v[2];
#pragma unroll
          for (int j = 0; j < 2; j++) {
            if constexpr (kPaired) {
              int at = 4 * i + 2 * m + j;
              v[j] = activated<kUsual>(d[0][at] + bias[m], d[1][at] + upBias[m]);
            } else if constexpr (kGated) {
              float first = d[m][4 * i + j], second = d[m][4 * i + 2 + j];
              float g = (a.upFirst ? second : first) + bias[m], u = (a.upFirst ? first : second) + upBias[m];
              v[j] = activated<kUsual>(g, u);
            } else {
              v[j] = d[m >> 1][4 * i + 2 * (m & 1) + j] + bias[m];
              if (!kUsual && a.activation == kRelu2) v[j] = v[j] > 0 ? v[j] * v[j] : 0.0f;
            }
          }
          packed[m] = E::narrowPair(v[0], v[1]);
        }
        // Lane l addresses row l % 8 of matrix l / 8.
        int matrix = (lane >> 3) & (kMatrices - 1);
        int row = i * 8 - start + (lane & 7);
        int chunk = kGated && !kPaired ? matrix * 4 + warp : (matrix >> 1) * 8 + warp * 2 + (matrix & 1);
        uint32_t to = staging + row * kRowBytes + ((chunk ^ turn<kRowBytes>(row)) << 4);
        if constexpr (kMatrices == 4) {
          store_matrices_transposed(to, packed[0], packed[1], packed[2], packed[3]);
        } else if constexpr (kMatrices == 2) {
          store_matrices_transposed(to, packed[0], packed[1]);
        } else {
          store_matrices_transposed(to, packed[0]);
        }
      }
      named_barrier(1 + group, 128);
      for (int q = thread; q < kAtOnce * kChunks; q += 128) {
        int row = q / kChunks, chunk = q % kChunks;
        int p = item.begin + start + row, column = firstColumn + chunk * 8;
        if (start + row < item.rows && column < a.width) {
          i64 target = a.target == nullptr ? p : __ldg(a.target + p);
          uint4 value;
          asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                       : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                       : "r"(staging + row * kRowBytes + ((chunk ^ turn<kRowBytes>(row)) << 4)));
          *reinterpret_cast<uint4*>(static_cast<unsigned short*>(a.out) + target * a.outPitch + column) = value;
        }
      }
    }
  }

  // What a row's chunks are turned by, so that 8 rows of one chunk lie in 8 different banks.
  template <int kRowBytes>
  static __device__ __forceinline__ int turn(int row) {
    return kRowBytes == 64 ? (row >> 1) & 3 : row & 7;
  }

  // The fewest columns, in steps of 16, that hold the item's rows.
  template <int kN>
  __device__ __forceinline__ void multiplyAtLeast(int rows, Sums& d, Ring& ring, int group, int last) {
    if constexpr (kN >= kTokens) {
      multiply<kTokens>(d, ring, group, last);
    } else {
      if (rows <= kN) {
        multiply<kN>(d, ring, group, last);
      } else {
        multiplyAtLeast<(kN < 16 ? 2 * kN : kN + 16)>(rows, d, ring, group, last);
      }
    }
  }

  // The sums of both groups, for the first; false for the second.
  __device__ __forceinline__ bool addOther(Sums& sum, const Sums& d, int group) {
    constexpr int kCount = kTokens / 2;
    uint32_t at = shared + kStages * S::kStageBytes + S::kStaging + (threadIdx.x & 127) * 4;
    if (group == 1) {
#pragma unroll
      for (int i = 0; i < kCount; i++) asm volatile("st.shared.f32 [%0], %1;" ::"r"(at + i * 512), "f"(d[0][i]) : "memory");
    }
    named_barrier(3, 256);
    if (group == 0) {
#pragma unroll
      for (int i = 0; i < kCount; i++) {
        float other;
        asm volatile("ld.shared.f32 %0, [%1];" : "=f"(other) : "r"(at + i * 512) : "memory");
        sum[0][i] = d[0][i] + other;
      }
    }
    named_barrier(4, 256);
    return group == 0;
  }

  __device__ __forceinline__ void consume() {
    int group = (threadIdx.x >> 7) - 1;
    Ring ring{0, 0};
    Item item{};
    for (Items items = firstItem<false>(); items.number < items.end; nextItem<false>(items)) {
      locate(items.number, item);
      Sums d;
      multiplyAtLeast<(kTokens <= 64 ? 8 : 32)>(item.rows, d, ring, group, steps());
#pragma unroll
      for (int b = 0; b < kBlocks; b++) pin(d[b]);
      if constexpr (kSplit) {
        Sums sum;
        if (addOther(sum, d, group)) store(item, sum, group);
      } else {
        store(item, d, group);
      }
    }
  }

  __device__ __forceinline__ void run() {
    if (threadIdx.x == 0) {
      prefetch_map(&a.weights);
      for (int s = 0; s < kStages; s++) {
        barrier_init(full(s), kDense ? 2 : kGatherThreads + 1);
        barrier_init(empty(s), 8);
      }
      for (int c = 0; c < kClaims; c++) barrier_init(claimed(c), 1);
      barrier_init_fence();
    }
    if (!a.overlapped) wait_for_predecessor();
    countTiles();  // and synchronises
    allow_successor();
    if (threadIdx.x < 128) {
      if constexpr (S::kResident == 1) give_registers<kBringing>();
      if (threadIdx.x < 32) {
        bringWeights();
      } else if constexpr (kDense) {
        if (threadIdx.x < 64) bringTokens();
      } else {
        gatherTokens();
      }
    } else {
      if constexpr (S::kResident == 1) take_registers<kMultiplying>();
      consume();
    }
  }
};

}  // namespace weft::experts
