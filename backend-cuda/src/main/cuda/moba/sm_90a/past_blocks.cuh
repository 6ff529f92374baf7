// Attention of gathered query rows to one past block, on Hopper: stage F3 of the forward pass.
//
// Work. A tile is kRows entries of one list (lists.cuh) and all keys of the list's block, which is complete and a
// multiple of 128 long, so nothing is masked; entries beyond the list's end are computed from whatever lies there and
// not stored. Blocks of threads are persistent, one on a multiprocessor. Each takes runs of `run` successive tiles:
// of blocks of 128 keys a run mostly has one list, whose keys and values stay in shared memory.
//
// Roles. Warpgroup 0 feeds: warp 0 asks the copy engine for tiles of 128 keys and values, warps 1 to 3 gather query
// rows by cp.async. Each further warpgroup computes 64 rows: scores of the next tile of keys are asked of the tensor
// cores before the probabilities of this one are multiplied by the values, so softmax and products overlap.
//
// Shared memory, D = 128: query rows 2 x 32 KiB, keys and values 2 x 32 KiB each, staging of the results 32 KiB.
//
// Registers: 64 scores, D / 2 outputs and 32 packed probabilities a thread.
#pragma once
#include "softmax.cuh"

namespace weft::moba {

struct PastArguments {  // as HopperForward.java writes it
  CUtensorMap keys, values;  // [T, Hkv, D]: boxes of 128 tokens, 64 columns
  Lists lists;
  const char* q;
  void* partial;      // [heads][entriesPerHead][D], storage type, normalised
  float* partialLse;  // [heads][entriesPerHead], to base 2, of scaled scores
  i64 qTokenPitch, qHeadPitch;  // in 16 bytes; q is shorter than 2^32 of them
  float scaleLog2;
  int firstHead, keyTiles, run;
};

// Which tiles a block of threads takes: the same for all its warps, ascending.
struct Schedule {
  uint32_t total, run;

  __device__ __forceinline__ uint32_t tile(uint32_t k) const {
    return (k / run * gridDim.x + blockIdx.x) * run + k % run;
  }
};

// Finds the lists of ascending tiles; a warp works together.
struct ListWalk {
  const Lists& lists;
  i64 list = -1;
  uint32_t from = 0, to = 0;  // tiles before the list and up to its end

  __device__ __forceinline__ explicit ListWalk(const Lists& lists) : lists(lists) {}

  // tile < lists.tileCount()
  __device__ __forceinline__ void seek(uint32_t tile) {
    if (tile < to) return;
    int lane = threadIdx.x & 31;
    i64 n = static_cast<i64>(lists.heads) * lists.blocksPerHead;
    i64 low = list + 1, high = n;  // tiles[low] <= tile < tiles[high]
    i64 step = 1;                  // mostly it is one of the next lists
    while (high - low > 1) {
      i64 at = low + lane * step;
      int hits = __popc(__ballot_sync(~0u, at < high && __ldg(lists.tiles + at) <= tile));
      low += (hits - 1) * step;
      if (hits < 32 || step > 1) high = min(low + step, high);
      step = (high - low + 31) / 32;
    }
    list = low;
    from = __ldg(lists.tiles + low);
    to = __ldg(lists.tiles + low + 1);
  }
};

template <class E, int kD, int kGroups, int kStages, int kSlots>
struct PastBlocks {
  static constexpr int kKeys = 128, kRows = 64 * kGroups, kThreads = 128 * (kGroups + 1);
  static constexpr int kSlabs = kD / 64;  // 128-byte slabs of a row
  static constexpr int kTileBytes = kKeys * kD * 2, kRowsBytes = kRows * kD * 2;
  static constexpr int kOutPitch = kD * 2;  // chunk c of row r at c ^ (r & 7), so that eight rows lie in all banks
  // A tile's description is read again when its results are stored: its rows' slot may be filled anew by then, but
  // not the next but one after it.
  static constexpr int kInfos = 2 * kSlots;
  static constexpr int kQ = 0, kK = kQ + kSlots * kRowsBytes, kV = kK + kStages * kTileBytes;
  static constexpr int kOut = kV + kStages * kTileBytes;
  static constexpr int kEntries = kOut + kRows * kOutPitch;
  static constexpr int kInfo = kEntries + kInfos * kRows * 4;
  static constexpr int kBarriers = kInfo + kInfos * 32;
  static constexpr int kShared = kBarriers + (2 * kSlots + 4 * kStages) * 8;
  static constexpr int kGatherers = 96;
  static constexpr int kFeedRegisters = kD == 64 ? 72 : 56, kComputeRegisters = kD == 64 ? 216 : 224;

  // What the computing warps must know of a tile.
  struct Info {
    i64 headBase;  // of partials
    uint32_t count;
    int fresh;  // the list is another than the tile's before
  };

  const PastArguments& a;
  char* shared;
  uint32_t base;
  Schedule schedule;

  __device__ __forceinline__ uint32_t fullQ(int i) const { return base + kBarriers + 8 * i; }
  __device__ __forceinline__ uint32_t emptyQ(int i) const { return fullQ(kSlots + i); }
  __device__ __forceinline__ uint32_t fullK(int i) const { return fullQ(2 * kSlots + i); }
  __device__ __forceinline__ uint32_t emptyK(int i) const { return fullQ(2 * kSlots + kStages + i); }
  __device__ __forceinline__ uint32_t fullV(int i) const { return fullQ(2 * kSlots + 2 * kStages + i); }
  __device__ __forceinline__ uint32_t emptyV(int i) const { return fullQ(2 * kSlots + 3 * kStages + i); }

  __device__ __forceinline__ void run() {
    if (threadIdx.x == 0) {
      for (int i = 0; i < kSlots; i++) {
        hopper::barrier_init(fullQ(i), 2 * kGatherers);
        hopper::barrier_init(emptyQ(i), 4 * kGroups);
      }
      for (int i = 0; i < kStages; i++) {
        hopper::barrier_init(fullK(i), 1);
        hopper::barrier_init(fullV(i), 1);
        hopper::barrier_init(emptyK(i), 4 * kGroups);
        hopper::barrier_init(emptyV(i), 4 * kGroups);
      }
      hopper::barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
      hopper::give_registers<kFeedRegisters>();
      if (threadIdx.x < 32) {
        feedKeys();
      } else {
        gather();
      }
    } else {
      hopper::take_registers<kComputeRegisters>();
      if (schedule.tile(0) < schedule.total) compute();
    }
  }

  __device__ __forceinline__ void feedKeys() {
    ListWalk walk(a.lists);
    i64 before = -1;
    int stage = 0;
    uint32_t phase = 0;
    bool leader = threadIdx.x == 0;
    for (uint32_t k = 0, tile; (tile = schedule.tile(k)) < schedule.total; k++) {
      walk.seek(tile);
      if (a.keyTiles == 1 && walk.list == before) continue;
      before = walk.list;
      int head = static_cast<int>(walk.list / a.lists.blocksPerHead);
      int block = static_cast<int>(walk.list - static_cast<i64>(head) * a.lists.blocksPerHead);
      int token = __ldg(&a.lists.blocks[block].start);
      for (int j = 0; j < a.keyTiles; j++) {
        copyTile(leader, kK, &a.keys, fullK(stage), emptyK(stage), stage, phase, a.firstHead + head, token);
        copyTile(leader, kV, &a.values, fullV(stage), emptyV(stage), stage, phase, a.firstHead + head, token);
        token += kKeys;
        if (++stage == kStages) {
          stage = 0;
          phase ^= 1;
        }
      }
    }
  }

  __device__ __forceinline__ void copyTile(
      bool leader, int at, const CUtensorMap* map, uint32_t full, uint32_t empty, int stage, uint32_t phase, int head,
      int token) {
    hopper::barrier_wait(empty, phase ^ 1);
    if (leader) {
      hopper::barrier_arrive_expect(full, kTileBytes);
#pragma unroll
      for (int s = 0; s < kSlabs; s++) {
        hopper::copy_box(base + at + stage * kTileBytes + s * kKeys * 128, map, full, hopper::kEvictNormal, 64 * s,
                         head, token);
      }
    }
    __syncwarp();
  }

  // A warp copies 16 rows at a time, two (D = 128) or four with one instruction.
  static constexpr int kParts = kRows / 16, kPartsEach = (kParts + 2) / 3;

  static constexpr uint32_t kNone = ~0u;

  struct Source {
    const uint32_t* list;
    uint32_t listCount;
    int firstQuery;
    uint32_t entry[kPartsEach];
    uint32_t row[kPartsEach];  // of lane % 16 in each part of this warp: 16-byte units from q, or kNone
    Info info;
  };

  __device__ __forceinline__ void find(ListWalk& walk, uint32_t tile, int warp, Source& source) const {
    i64 before = walk.list;
    walk.seek(tile);
    source.info.fresh = walk.list != before;
    if (source.info.fresh) {
      int head = static_cast<int>(walk.list / a.lists.blocksPerHead);
      int block = static_cast<int>(walk.list - static_cast<i64>(head) * a.lists.blocksPerHead);
      Lists::List list = a.lists.list(head, block);
      source.list = list.entries;
      source.listCount = list.count;
      source.firstQuery = (a.firstHead + head) * a.lists.group;
      source.info.headBase = head * a.lists.entriesPerHead;
    }
    uint32_t first = (tile - walk.from) * kRows;
    source.info.count = min(source.listCount - first, static_cast<uint32_t>(kRows));
    uint32_t slots = a.lists.slots, group = a.lists.group;
#pragma unroll
    for (int i = 0; i < kPartsEach; i++) {
      uint32_t r = (warp + 3 * i) * 16 + (threadIdx.x & 15);
      source.row[i] = kNone;
      if (r < source.info.count) {
        source.entry[i] = __ldg(source.list + first + r);
        uint32_t row = source.entry[i] / slots;
        uint32_t token = row / group;
        uint32_t query = source.firstQuery + (row - token * group);
        source.row[i] = static_cast<uint32_t>(token * a.qTokenPitch + query * a.qHeadPitch);
      }
    }
  }

  __device__ __forceinline__ void gather() {
    constexpr int kChunks = kD / 8, kRowsAtOnce = 32 / kChunks;
    int warp = threadIdx.x / 32 - 1, lane = threadIdx.x & 31;
    int chunk = lane % kChunks;
    ListWalk walk(a.lists);
    int slot = 0;
    uint32_t phase = 0, tile = schedule.tile(0);
    if (tile >= schedule.total) return;
    Source source;
    find(walk, tile, warp, source);
    for (uint32_t k = 0;; k++) {
      hopper::barrier_wait(emptyQ(slot), phase ^ 1);
      uint32_t to = base + kQ + slot * kRowsBytes + (chunk / 8) * kRows * 128;
#pragma unroll
      for (int i = 0; i < kPartsEach; i++) {
        int part = warp + 3 * i;
        if (part < kParts) {
          if (lane < 16) entries(k)[part * 16 + lane] = source.entry[i];
#pragma unroll 4
          for (int r = 0; r < 16; r += kRowsAtOnce) {
            int row = r + lane / kChunks;
            uint32_t from = __shfl_sync(~0u, source.row[i], row);
            if (from != kNone) {
              hopper::copy_async_16(to + hopper::swizzled(part * 16 + row, chunk % 8),
                                    a.q + (static_cast<i64>(from) + chunk) * 16, 16);
            }
          }
        }
      }
      if (threadIdx.x == 32) info(k) = source.info;
      hopper::barrier_arrive_after_copies(fullQ(slot));
      hopper::barrier_arrive(fullQ(slot));  // for what was written beside the copies
      tile = schedule.tile(k + 1);
      if (tile >= schedule.total) break;
      find(walk, tile, warp, source);  // while the copies are under way
      if (++slot == kSlots) {
        slot = 0;
        phase ^= 1;
      }
    }
    asm volatile("cp.async.wait_all;" ::: "memory");
  }

  // Gathered rows were written by ordinary means, of other threads.
  __device__ __forceinline__ void awaitRows(int slot, uint32_t phase) const {
    hopper::barrier_wait(fullQ(slot), phase);
    hopper::async_proxy_fence();
  }

  __device__ __forceinline__ uint32_t* entries(uint32_t k) const {
    return reinterpret_cast<uint32_t*>(shared + kEntries) + k % kInfos * kRows;
  }

  __device__ __forceinline__ Info& info(uint32_t k) const {
    return *reinterpret_cast<Info*>(shared + kInfo + k % kInfos * 32);
  }

  __device__ __forceinline__ void scores(float (&s)[kKeys / 2], int group, int slot, int stage) const {
    uint64_t q = hopper::descriptor(base + kQ + slot * kRowsBytes + group * 64 * 128);
    uint64_t keys = hopper::descriptor(base + kK + stage * kTileBytes);
#pragma unroll
    for (int k = 0; k < kD / 16; k++) {
      hopper::product<E, kKeys>(
          s, q + ((k / 4) * kRows * 128 + (k % 4) * 32) / 16, keys + ((k / 4) * kKeys * 128 + (k % 4) * 32) / 16, k > 0);
    }
  }

  __device__ __forceinline__ void compute() {
    int group = __shfl_sync(~0u, threadIdx.x / 128, 0) - 1, warp = (threadIdx.x / 32) & 3, lane = threadIdx.x & 31;
    bool signals = lane == 0;
    const bool resident = a.keyTiles == 1;
    float s[kKeys / 2], o[kD / 2], keep[2];
    uint32_t p[kKeys / 16][4];
    Rows rows;
    rows.reset();

    int slot = 0, stage = 0;
    uint32_t slotPhase = 0, phase = 0, k = 0;
    awaitRows(0, 0);
    hopper::barrier_wait(fullK(0), 0);
    hopper::products_begin();
    scores(s, group, 0, 0);
    hopper::products_commit();
    hopper::products_wait<0>();
    hopper::pin(s);
    if (signals) {
      if (!resident) hopper::barrier_arrive(emptyK(0));
      if (resident) hopper::barrier_arrive(emptyQ(0));
    }
    rows.take(s, a.scaleLog2, keep);
    pack<E>(s, p);

    for (int j = 0;;) {
      bool last = j == a.keyTiles - 1, more = true, fresh = true;
      int nextStage = stage;
      uint32_t nextPhase = phase;
      if (last) {
        more = schedule.tile(++k) < schedule.total;
        if (more) {
          if (++slot == kSlots) {
            slot = 0;
            slotPhase ^= 1;
          }
          awaitRows(slot, slotPhase);
          fresh = !resident || info(k).fresh;
        }
      }
      if (more && fresh) {
        if (resident && signals) hopper::barrier_arrive(emptyK(stage));
        if (++nextStage == kStages) {
          nextStage = 0;
          nextPhase ^= 1;
        }
        hopper::barrier_wait(fullK(nextStage), nextPhase);
      }
      hopper::barrier_wait(fullV(stage), phase);
      hopper::products_begin();
      scores(s, group, slot, nextStage);  // without more tiles: of stale operands, and not used
      hopper::products_commit();
      uint64_t values = hopper::transposed_descriptor(base + kV + stage * kTileBytes, kKeys * 128);
#pragma unroll
      for (int i = 0; i < kKeys / 16; i++) {
        hopper::product<E, kD, 1>(o, p[i], values + i * 2048 / 16, j > 0 || i > 0);
      }
      hopper::products_commit();
      hopper::products_wait<1>();
      hopper::pin(s);
      barrier_arrive_if(emptyK(nextStage), signals & more & !resident);
      barrier_arrive_if(emptyQ(slot), signals & more & (resident | (j + 2 == a.keyTiles)));
      Rows done = rows;
      if (last) rows.reset();
      rows.take(s, a.scaleLog2, keep);
      rows.hold();  // the assembler would move the wait ahead of the exponentials
      hopper::products_wait<0>();
      hopper::pin(o);
      hopper::pin(s);
      barrier_arrive_if(emptyV(stage), signals & more & fresh);
      if (last) {
        store(o, done, k - 1, group * 64 + warp * 16, lane);
        if (!more) break;
        j = 0;
      } else {
#pragma unroll
        for (int i = 0; i < kD / 4; i++) {
          o[2 * i] *= keep[i & 1];
          o[2 * i + 1] *= keep[i & 1];
        }
        j++;
      }
      pack<E>(s, p);
      stage = nextStage;
      phase = nextPhase;
    }
  }

  // Normalised outputs and lse of a warp's 16 rows of tile k to where their entries say: through shared memory, so that
  // a row is written by neighbouring lanes.
  __device__ __forceinline__ void store(const float (&o)[kD / 2], Rows& done, uint32_t k, uint32_t first, int lane) const {
    done.finish();
    float inverse[2] = {reciprocal(done.sum[0]), reciprocal(done.sum[1])};
    uint32_t staging = kOut + first * kOutPitch, row = lane & 15;
    __syncwarp();  // the tile before has been read
#pragma unroll
    for (int i = 0; i < kD / 16; i++) {
      store_matrices(base + staging + row * kOutPitch + (((2 * i + (lane >> 4)) ^ (row & 7)) << 4),
                     E::narrowPair(o[8 * i] * inverse[0], o[8 * i + 1] * inverse[0]),
                     E::narrowPair(o[8 * i + 2] * inverse[1], o[8 * i + 3] * inverse[1]),
                     E::narrowPair(o[8 * i + 4] * inverse[0], o[8 * i + 5] * inverse[0]),
                     E::narrowPair(o[8 * i + 6] * inverse[1], o[8 * i + 7] * inverse[1]));
    }
    __syncwarp();
    const uint32_t* entry = entries(k) + first;
    i64 headBase = info(k).headBase;
    uint32_t count = info(k).count;
    // Lane r of the lower 16 takes the lse of row r: of rows 0 to 7 the upper, of 8 to 15 the lower ones of the quads.
    float lse = done.log2Sum(0, a.scaleLog2), below = done.log2Sum(1, a.scaleLog2);
    lse = __shfl_sync(~0u, lse, (lane & 7) * 4);
    below = __shfl_sync(~0u, below, (lane & 7) * 4);
    if (lane < 16 && first + lane < count) a.partialLse[headBase + entry[lane]] = lane < 8 ? lse : below;
    constexpr int kChunks = kD / 8, kRowsAtOnce = 32 / kChunks;
#pragma unroll
    for (int i = 0; i < 16; i += kRowsAtOnce) {
      uint32_t r = i + lane / kChunks, chunk = lane % kChunks;
      uint4 bits = *reinterpret_cast<const uint4*>(shared + staging + r * kOutPitch + ((chunk ^ (r & 7)) << 4));
      if (first + r < count) static_cast<uint4*>(a.partial)[(headBase + entry[r]) * kChunks + chunk] = bits;
    }
  }
};

}  // namespace weft::moba
