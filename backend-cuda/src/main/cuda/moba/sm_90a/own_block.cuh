// Attention of queries to their own block, causally, and the merge with the past blocks' partial results, on Hopper:
// stage F4 of the forward pass. Any block size.
//
// Work. A warpgroup takes 64 successive tokens of one block of keys and one query head; keys come 64 at a time, up to
// the last query's. Several such thread blocks on a multiprocessor hide each other's waits, so there are no roles: one
// thread asks the copy engine for the next keys when all have their scores, for the next values when all have used
// the last.
//
// Scores of keys that a query may not see become -inf. Their values still meet a weight of 0, and 0 NaN is NaN: values
// behind the block's end, which belong to another sequence or to nobody, are overwritten by zeros; a diagonal tile
// with an infinite value or a NaN is summed key by key instead, without what a row does not see.
//
// Merge, bound by memory. Outputs go through shared memory, so that a row then lies on D / 8 lanes, 8 columns each,
// and its partial results are read whole, kAtOnce at a time without a branch between them; they are added in the order
// of slots, so results repeat bit for bit. Their lse are fetched before the products begin, -inf for slots without a
// block: the partial results of these were never written, but are within scratch memory, so they are read and dropped.
// A block whose scores are all -inf counts (kLowest), as infinite values that it may hold give NaN.
//
// Shared memory, D = 128: 16 KiB each of queries, keys and values, and 256 bytes for each slot of lse; three thread
// blocks of 168 registers.
#pragma once
#include "softmax.cuh"

namespace weft::moba {

struct OwnArguments {  // as HopperForward.java writes it
  CUtensorMap queries, keys, values;  // [T, H or Hkv, D]: boxes of 64 tokens, 64 columns
  Lists lists;
  Selection selection;
  const void* partial;      // [heads][entriesPerHead][D]
  const float* partialLse;  // [heads][entriesPerHead], to base 2, of scaled scores
  void* out;
  float* lse;  // or null
  i64 outTokenPitch, outHeadPitch, lseTokenPitch, lseHeadPitch;  // elements
  float scaleLog2;
  int firstHead, tilesPerBlock, padding;
};

template <class E, int kD>
struct OwnBlock {
  static constexpr int kRows = 64, kKeys = 64, kThreads = 128, kSlabs = kD / 64;
  static constexpr int kTileBytes = kKeys * kD * 2;
  static constexpr int kQ = 0, kK = kTileBytes, kV = 2 * kTileBytes, kOperands = 3 * kTileBytes;
  static constexpr int kOutPitch = kD * 4 + 32;  // staging over the operands; 32 more, against bank conflicts
  static constexpr int kStaging = kRows * kOutPitch;
  static constexpr int kRowStates = kOperands > kStaging ? kOperands : kStaging;  // float2 max, sum of each row
  static constexpr int kBarriers = kRowStates + kRows * 8;
  static constexpr int kSlotLse = kBarriers + 3 * 8;  // [kRows][slots]
  static constexpr int kShared = kSlotLse;            // and kRows * 4 for each slot
  static constexpr int kLanes = kD / 8;  // of a row, when merging
  static constexpr int kAtOnce = 8;      // partial results that a lane loads before it adds the first
  static constexpr float kLowest = -3.402823466e38f;

  const OwnArguments& a;
  char* shared;
  uint32_t base;

  // Set by run(): the thread block's block of keys, first token, query head and the row of its group.
  Block b;
  int block, first, query;

  __device__ __forceinline__ uint32_t fullQ() const { return base + kBarriers; }
  __device__ __forceinline__ uint32_t fullK() const { return base + kBarriers + 8; }
  __device__ __forceinline__ uint32_t fullV() const { return base + kBarriers + 16; }

  __device__ __forceinline__ void load(int at, const CUtensorMap* map, uint32_t barrier, int head, int token) const {
    hopper::barrier_arrive_expect(barrier, kTileBytes);
#pragma unroll
    for (int s = 0; s < kSlabs; s++) {
      hopper::copy_box(base + at + s * kKeys * 128, map, barrier, hopper::kEvictNormal, 64 * s, head, token);
    }
  }

  __device__ __forceinline__ void run() {
    // The tiles with most keys first.
    block = blockIdx.x / a.tilesPerBlock;
    int part = a.tilesPerBlock - 1 - static_cast<int>(blockIdx.x - block * a.tilesPerBlock);
    b = a.lists.blocks[block];
    first = b.start + part * kRows;
    if (first >= b.end) return;
    query = a.firstHead * a.lists.group + blockIdx.y;
    int kvHead = a.firstHead + blockIdx.y / a.lists.group;
    int tiles = part + 1;  // rows and keys of a tile are as many
    if (threadIdx.x == 0) {
      hopper::barrier_init(fullQ(), 1);
      hopper::barrier_init(fullK(), 1);
      hopper::barrier_init(fullV(), 1);
      hopper::barrier_init_fence();
      load(kQ, &a.queries, fullQ(), query, first);
      load(kK, &a.keys, fullK(), kvHead, b.start);
      load(kV, &a.values, fullV(), kvHead, b.start);
    }
    fetchLse();
    __syncthreads();

    int warp = threadIdx.x / 32, lane = threadIdx.x & 31;
    float s[kKeys / 2], o[kD / 2], keep[2];
    uint32_t p[kKeys / 16][4];
    Rows rows;
    rows.reset();
#pragma unroll
    for (int i = 0; i < kD / 2; i++) o[i] = 0;
    hopper::barrier_wait(fullQ(), 0);
#pragma unroll 1
    for (int j = 0; j < tiles; j++) {
      bool last = j == tiles - 1;
      hopper::barrier_wait(fullK(), j & 1);
      hopper::products_begin();
#pragma unroll
      for (int k = 0; k < kD / 16; k++) {
        uint32_t at = (k / 4) * kKeys * 128 + (k % 4) * 32;
        hopper::product<E, kKeys>(s, hopper::descriptor(base + kQ + at), hopper::descriptor(base + kK + at), k > 0);
      }
      hopper::products_commit();
      hopper::products_wait<0>();
      hopper::pin(s);
      __syncthreads();
      if (threadIdx.x == 0 && !last) load(kK, &a.keys, fullK(), kvHead, b.start + (j + 1) * kKeys);
      if (last) {  // the diagonal: rows and columns start at the same token
        int row = 16 * warp + lane / 4;
#pragma unroll
        for (int i = 0; i < kKeys / 2; i++) {
          int column = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
          if (column > row + 8 * (i / 2 % 2)) s[i] = -INFINITY;
        }
      }
      rows.take(s, a.scaleLog2, keep);
#pragma unroll
      for (int i = 0; i < kD / 2; i++) o[i] *= keep[i / 2 % 2];
      pack<E>(s, p);
      hopper::barrier_wait(fullV(), j & 1);
      if (last && __syncthreads_or(clearValues(b.end - first))) {
        sumSeen(o, s, 16 * warp + lane / 4, lane);
        break;
      }
      hopper::pin(o);
      hopper::products_begin();
#pragma unroll
      for (int k = 0; k < kKeys / 16; k++) {
        hopper::product<E, kD, 1>(o, p[k], hopper::transposed_descriptor(base + kV + k * 2048, kKeys * 128), 1);
      }
      hopper::products_commit();
      hopper::products_wait<0>();
      hopper::pin(o);
      __syncthreads();
      if (threadIdx.x == 0 && !last) load(kV, &a.values, fullV(), kvHead, b.start + (j + 1) * kKeys);
    }
    stage(o, rows, warp, lane);
    __syncwarp();
    merge(16 * warp, lane);
  }

  // Zeros in the tile of values from key `length` on; whether there is a value before that is not finite.
  __device__ __forceinline__ bool clearValues(int length) const {
    constexpr uint32_t kLow = std::is_same_v<E, F16> ? 0x7c00u : 0x7f80u, kHigh = kLow << 16;
    bool bad = false;
#pragma unroll
    for (int i = threadIdx.x; i < kKeys * 8 * kSlabs; i += kThreads) {
      uint4& values = *reinterpret_cast<uint4*>(shared + kV + i * 16);
      if (i / 8 % kKeys >= length) {
        values = make_uint4(0, 0, 0, 0);
      } else {
        for (uint32_t w : {values.x, values.y, values.z, values.w}) {
          bad = bad || (w & kLow) == kLow || (w & kHigh) == kHigh;
        }
      }
    }
    hopper::async_proxy_fence();
    return bad;
  }

  // o += p v over the diagonal tile by FMA; p in the layout of the products. `row` is the thread's upper row.
  __device__ __forceinline__ void sumSeen(float (&o)[kD / 2], const float (&p)[kKeys / 2], int row, int lane) const {
#pragma unroll
    for (int i = 0; i < kKeys / 8; i++) {
#pragma unroll 1
      for (int c = 0; c < 8; c++) {
        int key = 8 * i + c, source = (lane & ~3) | (c >> 1);
        float x = __shfl_sync(~0u, (c & 1) ? p[4 * i + 1] : p[4 * i], source);
        float y = __shfl_sync(~0u, (c & 1) ? p[4 * i + 3] : p[4 * i + 2], source);
#pragma unroll
        for (int n = 0; n < kD / 8; n++) {
          uint32_t at = kV + n / 8 * kKeys * 128 + hopper::swizzled(key, n % 8) + lane % 4 * 4;
          uint32_t bits = *reinterpret_cast<const uint32_t*>(shared + at);
          float low = E::widen(bits & 0xffffu, 0), high = E::widen(bits >> 16, 0);
          if (key <= row) {
            o[4 * n] = fmaf(x, low, o[4 * n]);
            o[4 * n + 1] = fmaf(x, high, o[4 * n + 1]);
          }
          if (key <= row + 8) {
            o[4 * n + 2] = fmaf(y, low, o[4 * n + 2]);
            o[4 * n + 3] = fmaf(y, high, o[4 * n + 3]);
          }
        }
      }
    }
    __syncthreads();
  }

  __device__ __forceinline__ i64 entry(int row) const {
    i64 ofHead = (static_cast<i64>(first + row) * a.lists.group + blockIdx.y % a.lists.group) * a.lists.slots;
    return static_cast<i64>(blockIdx.y / a.lists.group) * a.lists.entriesPerHead + ofHead;
  }

  __device__ __forceinline__ void fetchLse() const {
    int slots = a.lists.slots;
    for (int i = threadIdx.x; i < kRows * slots; i += kThreads) {
      int row = i / slots, slot = i - row * slots, token = first + row;
      float lse = -INFINITY;
      if (token < b.end && a.selection.block(Home{block, b.first}, token, query, slot) >= 0) {
        lse = __ldg(a.partialLse + entry(row) + slot);
        if (lse == -INFINITY) lse = kLowest;
      }
      *reinterpret_cast<float*>(shared + kSlotLse + i * 4) = lse;
    }
  }

  // Unnormalised outputs of a warp's 16 rows, and the rows' maxima and sums.
  __device__ __forceinline__ void stage(const float (&o)[kD / 2], Rows& rows, int warp, int lane) const {
    rows.finish();
    int row = 16 * warp + lane / 4;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      char* to = shared + (row + 8 * h) * kOutPitch + lane % 4 * 8;
#pragma unroll
      for (int i = 0; i < kD / 8; i++) {
        *reinterpret_cast<float2*>(to + i * 32) = make_float2(o[4 * i + 2 * h], o[4 * i + 2 * h + 1]);
      }
      if (lane % 4 == 0) {
        *reinterpret_cast<float2*>(shared + kRowStates + (row + 8 * h) * 8) = make_float2(rows.max[h], rows.sum[h]);
      }
    }
  }

  __device__ __forceinline__ void merge(int firstRow, int lane) const {
    int part = lane % kLanes, slots = a.lists.slots;
#pragma unroll 2
    for (int i = 0; i < 16 * kLanes / 32; i++) {
      int r = firstRow + i * (32 / kLanes) + lane / kLanes;
      i64 token = first + r;
      bool live = token < b.end;
      if (!live) token = first;  // its results are dropped
      const float* ofSlots = reinterpret_cast<const float*>(shared + kSlotLse) + r * slots;
      const uint4* partial = static_cast<const uint4*>(a.partial) + entry(static_cast<int>(token) - first) * kLanes + part;
      float2 own = *reinterpret_cast<const float2*>(shared + kRowStates + r * 8);
      own.x = own.x == -INFINITY ? -INFINITY : own.x * a.scaleLog2;
      float top = own.x;
      for (int slot = 0; slot < slots; slot++) top = fmaxf(top, ofSlots[slot]);
      float shift = top <= kLowest ? 0.0f : top;
      float weight = exp2Flushing(own.x - shift), sum = own.y * weight;
      const float4* from = reinterpret_cast<const float4*>(shared + r * kOutPitch + part * 32);
      float4 low = from[0], high = from[1];
      float acc[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
      for (int c = 0; c < 8; c++) acc[c] *= weight;
#pragma unroll 1
      for (int slot = 0; slot < slots; slot += kAtOnce) {
        uint4 bits[kAtOnce];
        float w[kAtOnce];
#pragma unroll
        for (int u = 0; u < kAtOnce; u++) {
          int at = min(slot + u, slots - 1);
          bits[u] = __ldcs(partial + at * kLanes);
          w[u] = slot + u < slots ? ofSlots[at] : -INFINITY;
        }
#pragma unroll
        for (int u = 0; u < kAtOnce; u++) {
          bool used = w[u] != -INFINITY;
          float x = exp2Flushing(w[u] - shift);
          sum += x;
          const uint32_t words[4] = {used ? bits[u].x : 0, used ? bits[u].y : 0, used ? bits[u].z : 0,
                                     used ? bits[u].w : 0};
#pragma unroll
          for (int c = 0; c < 8; c++) {
            acc[c] = fmaf(x, E::widen(c & 1 ? words[c / 2] >> 16 : words[c / 2] & 0xffffu, 0), acc[c]);
          }
        }
      }
      float inverse = sum == 0 ? NAN : reciprocal(sum);  // 0: all scores are -inf
      uint4 result = make_uint4(E::narrowPair(acc[0] * inverse, acc[1] * inverse),
                                E::narrowPair(acc[2] * inverse, acc[3] * inverse),
                                E::narrowPair(acc[4] * inverse, acc[5] * inverse),
                                E::narrowPair(acc[6] * inverse, acc[7] * inverse));
      char* to = static_cast<char*>(a.out) + (token * a.outTokenPitch + query * a.outHeadPitch) * 2;
      if (live) __stcs(reinterpret_cast<uint4*>(to) + part, result);
      if (live && a.lse && part == 0) {
        a.lse[token * a.lseTokenPitch + query * a.lseHeadPitch] =
            sum == 0 ? -INFINITY : (shift + __log2f(sum)) * 0.69314718055994531f;
      }
    }
  }
};

}  // namespace weft::moba
