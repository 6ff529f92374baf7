// Both projections of gated experts in one launch, for launches whose time is that of reading weights. The tiles, the
// ring and the products are those of expert_gemm.cuh; this is what differs:
//
//   Items of the second projection follow those of the first in one queue, so blocks go on reading weights where two
//   launches would wait for one another. Whoever gathers tokens for an item of the second projection waits until the
//   expert's activations are there: `done` counts, for each expert, the stores of its items of the first. An item waits
//   for items with lower numbers only, and blocks that run have claimed all of those, so it does not wait for ever.
//
//   With few slots a block counts the experts' rows from the ids themselves, while the sort still runs, and asks the L2
//   for the weights that it may begin with. What is left to wait for is the order of the rows. The ids are there: the
//   sort lets this launch begin only after its own predecessors have ended.
//
//   Weights are read once, and yet they are the first to leave the L2 only where they are few (`leaveFirst`). Else what
//   others wrote there would stay, to be written back little by little between the reads, which takes the memory longer
//   than to write it at once; a short launch is over before.
//
//   Experts without rows are left out of the table that a block looks its items up in.
#pragma once
#include "expert_gemm.cuh"

namespace weft::experts {

struct StreamArguments {  // as HopperExperts.java writes it
  const int* ids;  // [slots / topK, topK]; null: rows are counted from the offsets, after the sort
  int* done;       // [experts], which the sort set to 0
  i64 idPitch;
  int slots;
  int firstExpert;  // whose number in ids is that of local expert 0
  int leaveFirst;   // weights that are read once are the first to leave the L2
  Arguments project;
  Arguments down;
};

template <class E, class S>
struct ExpertStream {
  using Project = ExpertGemm<E, S, true, false>;
  using Down = ExpertGemm<E, S, false, false>;
  static constexpr int kTokens = S::kTokens, kSlabs = S::kSlabs, kStages = S::kStages;
  static constexpr bool kPaired = Project::kPaired;
  static constexpr int kArrivals = S::kSplit ? 1 : 2;  // warpgroups that store an item
  static constexpr int kMostListed = 512;  // experts; HopperTile.java says so too
  static_assert(S::kBytesButExperts + 4 * (3 * kMostListed + 1) <= 227 * 1024);
  static_assert(2 * S::kStaging >= 4 * kMostListed, "experts are counted in the staging area");

  const StreamArguments& a;
  Project project;
  Down down;
  unsigned char* memory;  // the block's shared memory

  struct StreamItem : Item {
    int entry;    // of the table: where the last search ended
    int tiles;    // of the expert
    bool second;  // of the second projection
  };

  // The table: experts with rows, in ascending order; [experts + 1], [experts + 1] and [experts].
  __device__ __forceinline__ int* tileStarts() const { return reinterpret_cast<int*>(memory + S::kTilesAt); }
  __device__ __forceinline__ int* rowStarts() const { return tileStarts() + a.project.experts + 1; }
  __device__ __forceinline__ int* expertNumbers() const { return rowStarts() + a.project.experts + 1; }
  __device__ __forceinline__ unsigned long long* warpSums() const {
    return reinterpret_cast<unsigned long long*>(memory + S::kBarriersAt);  // until the barriers are made
  }

  // Rows of local experts, counted from the ids into the staging area.
  __device__ __forceinline__ int* countRows() const {
    int* counts = reinterpret_cast<int*>(memory + kStages * S::kStageBytes);
    const Arguments& p = a.project;
    for (int e = threadIdx.x; e < p.experts; e += kThreads) counts[e] = 0;
    int present = presentTokens(p.tokenCount, p.firstToken, p.tokens) * p.topK;
    __syncthreads();
    constexpr int kAtOnce = 4;
    for (int slot = threadIdx.x; slot < a.slots; slot += kAtOnce * kThreads) {
      int expert[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
        int s = slot + i * kThreads, token = s / p.topK;
        expert[i] = s < a.slots && s < present ? __ldg(a.ids + token * a.idPitch + (s - token * p.topK)) - a.firstExpert : -1;
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
        if (expert[i] >= 0 && expert[i] < p.experts) atomicAdd(counts + expert[i], 1);
      }
    }
    __syncthreads();
    return counts;
  }

  // The same from the sort, which has ended.
  __device__ __forceinline__ int rowsOf(int expert) const {
    const Arguments& p = a.project;
    return p.offsets == nullptr ? presentTokens(p.tokenCount, p.firstToken, p.tokens)
                                : p.offsets[expert + 1] - p.offsets[expert];
  }

  // Fills the table; returns the number of token tiles. A scan over the block, two experts a thread, of rows, tiles and
  // experts with rows at once.
  __device__ __forceinline__ int listExperts() const {
    int t = threadIdx.x, lane = t & 31, warp = t >> 5, experts = a.project.experts;
    int rows[2] = {0, 0};
    if (a.ids != nullptr) {
      const int* counts = countRows();
      for (int i = 0; i < 2; i++) {
        if (2 * t + i < experts) rows[i] = counts[2 * t + i];
      }
    } else {
      for (int i = 0; i < 2; i++) {
        if (2 * t + i < experts) rows[i] = rowsOf(2 * t + i);
      }
    }
    auto packed = [](int rows) {  // 32 bits of rows, 10 of experts, 22 of tiles
      unsigned long long tiles = (rows + kTokens - 1) / kTokens;
      return rows == 0 ? 0 : tiles << 42 | 1ull << 32 | static_cast<unsigned>(rows);
    };
    unsigned long long first = packed(rows[0]), second = packed(rows[1]), sum = first + second;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      unsigned long long other = __shfl_up_sync(~0u, sum, d);
      if (lane >= d) sum += other;
    }
    if (lane == 31) warpSums()[warp] = sum;
    __syncthreads();
    unsigned long long all = 0;
    for (int w = 0; w < kThreads / 32; w++) {
      if (w == warp) sum += all;
      all += warpSums()[w];
    }
    unsigned long long before = sum - first - second;
    auto list = [&](int expert) {
      int entry = static_cast<int>(before >> 32 & 1023);
      tileStarts()[entry] = static_cast<int>(before >> 42);
      rowStarts()[entry] = static_cast<int>(before);
      expertNumbers()[entry] = expert;
    };
    if (rows[0] != 0) list(2 * t);
    before += first;
    if (rows[1] != 0) list(2 * t + 1);
    if (t == 0) {
      int entries = static_cast<int>(all >> 32 & 1023);
      tileStarts()[entries] = static_cast<int>(all >> 42);
      rowStarts()[entries] = static_cast<int>(all);
    }
    __syncthreads();
    return static_cast<int>(all >> 42);
  }

  __device__ __forceinline__ const Arguments& of(const StreamItem& item) const { return item.second ? a.down : a.project; }
  __device__ __forceinline__ static int steps(const Arguments& of) { return (of.depth + 64 * kSlabs - 1) / (64 * kSlabs); }

  __device__ __forceinline__ void locate(int number, int tiles, StreamItem& item) const {
    int first = tiles * a.project.weightTiles;
    bool second = number >= first;
    if (second != item.second) item.entry = 0;
    item.second = second;
    if (second) number -= first;
    int weightTiles = second ? a.down.weightTiles : a.project.weightTiles;
    const int *starts = tileStarts(), *rows = rowStarts();
    int quotient = number / weightTiles, e = item.entry;
    while (starts[e + 1] <= quotient) e++;
    int local = number - starts[e] * weightTiles;
    item.entry = e;
    item.tiles = starts[e + 1] - starts[e];
    item.expert = expertNumbers()[e];
    item.weightTile = local / item.tiles;
    int tile = local % item.tiles, count = rows[e + 1] - rows[e];
    int each = ((count + item.tiles - 1) / item.tiles + 7) & ~7;
    item.begin = rows[e] + tile * each;
    item.rows = min(each, count - tile * each);
  }

  struct Queue {
    int tiles;
    int items;
    int claims;
  };
  __device__ __forceinline__ Queue queue(int tiles) const {
    return Queue{tiles, tiles * (a.project.weightTiles + a.down.weightTiles), 0};
  }
  // Only the thread that brings weights claims; the others wait for what it publishes.
  __device__ __forceinline__ int claim(Queue& queue) const {
    int number = atomicAdd(a.project.nextItem, 1);
    uint32_t at = project.claimed(queue.claims++);
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(at + 8), "r"(number) : "memory");
    barrier_arrive(at);
    return number;
  }
  __device__ __forceinline__ int receive(Queue& queue) const {
    uint32_t at = project.claimed(queue.claims);
    barrier_wait(at, queue.claims / kClaims & 1);
    queue.claims++;
    int number;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(number) : "r"(at + 8) : "memory");
    return number;
  }

  // What the block's first item reads if items are taken in the order of blocks. They are not, but together the blocks
  // ask for what all of them will want.
  __device__ __forceinline__ void askForWeights(int tiles) const {
    if (static_cast<int>(blockIdx.x) >= tiles * a.project.weightTiles) return;
    StreamItem item{};
    locate(blockIdx.x, tiles, item);
    const Arguments& p = a.project;
    for (int step = 0; step < min(p.askedSteps, steps(p)); step++) {
      for (int s = 0; s < kSlabs; s++) {
        int k = (step * kSlabs + s) * 64;
        if constexpr (kPaired) {
          prefetch_box(&p.weights, k, item.weightTile * 128, item.expert);
          prefetch_box(&p.upWeights, k, item.weightTile * 128, item.expert);
        } else {
          prefetch_box(&p.weights, k, 0, 0, item.weightTile * (S::kWeightRows / 16), item.expert);
        }
      }
    }
  }

  // A stage's weights. In a tile of two products for each warpgroup the second projection's rows lie as gate and up do:
  // 64 of each group, then 64 of each.
  __device__ __forceinline__ void copyWeights(const StreamItem& item, int step, int stage, uint64_t policy) const {
    uint32_t full = project.full(stage);
#pragma unroll
    for (int s = 0; s < kSlabs; s++) {
      uint32_t to = project.weightsAt(stage) + s * S::kWeightSlab;
      int k = (step * kSlabs + s) * 64;
      if (item.second) {
        if constexpr (kPaired) {
#pragma unroll
          for (int part = 0; part < 4; part++) {
            int row = item.weightTile * 256 + (part & 1) * 128 + (part >> 1) * 64;
            copy_box(to + part * 8192, &a.down.weights, full, policy, k, row, item.expert);
          }
        } else {
          copy_box(to, &a.down.weights, full, policy, k, item.weightTile * S::kWeightRows, item.expert);
        }
      } else if constexpr (kPaired) {
        copy_box(to, &a.project.weights, full, policy, k, item.weightTile * 128, item.expert);
        copy_box(to + 16384, &a.project.upWeights, full, policy, k, item.weightTile * 128, item.expert);
      } else {
        copy_box(to, &a.project.weights, full, policy, k, 0, 0, item.weightTile * (S::kWeightRows / 16), item.expert);
      }
    }
  }

  __device__ __forceinline__ void bringWeights(int tiles) const {
    if ((threadIdx.x & 31) != 0) return;
    if (a.project.askedSteps > 0) askForWeights(tiles);
    wait_for_predecessor();
    Queue q = queue(tiles);
    StreamItem item{};
    typename Project::Ring ring{0, 1};
    for (int number = claim(q); number < q.items;) {
      locate(number, tiles, item);
      uint64_t policy = a.leaveFirst && item.tiles == 1 ? kEvictFirst : kEvictNormal;
      int last = steps(of(item));
      for (int step = 0; step < last; step++) {
        if (step + 1 == last) number = claim(q);  // while the ring is still full
        barrier_wait(project.empty(ring.stage), ring.parity);
        barrier_arrive_expect(project.full(ring.stage), kSlabs * S::kWeightSlab);
        copyWeights(item, step, ring.stage, policy);
        ring.advance();
      }
    }
  }

  // Waits until the activations of an item's expert are there.
  __device__ __forceinline__ void awaitActivations(const StreamItem& item) const {
    if ((threadIdx.x & 31) == 0) {
      const int* at = a.done + item.expert;
      int wanted = item.tiles * a.project.weightTiles * kArrivals, found;
      do {
        asm volatile("ld.acquire.gpu.global.b32 %0, [%1];" : "=r"(found) : "l"(at) : "memory");
      } while (found < wanted);
    }
    __syncwarp();
  }

  __device__ __forceinline__ void gatherTokens(int tiles) const {
    constexpr int kPasses = Project::kPasses, kRowsPerPass = Project::kRowsPerPass;
    wait_for_predecessor();
    int thread = threadIdx.x - 32, chunk = thread & 7, first = thread >> 3;
    Queue q = queue(tiles);
    StreamItem item{};
    typename Project::Ring ring{0, 1};
    int ready = -1;  // the last expert whose activations were there
    for (int number = receive(q); number < q.items; number = receive(q)) {
      locate(number, tiles, item);
      const Arguments& p = of(item);
      if (item.second && item.expert != ready) {
        awaitActivations(item);
        ready = item.expert;
      }
      uint32_t pitch = static_cast<uint32_t>(p.rowPitch >> 3);  // in chunks
      uint32_t at[kPasses];  // the row's chunk, in chunks from the operand's start
#pragma unroll
      for (int i = 0; i < kPasses; i++) {
        int row = item.begin + min(first + i * kRowsPerPass, item.rows - 1);
        at[i] = (p.source == nullptr ? row : __ldg(p.source + row) / p.topK) * pitch + chunk;
      }
      int last = steps(p), depth = p.depth;
      const char* rows = static_cast<const char*>(p.rows);
      for (int step = 0; step < last; step++) {
        barrier_wait(project.empty(ring.stage), ring.parity);
#pragma unroll
        for (int s = 0; s < kSlabs; s++) {
          int k = (step * kSlabs + s) * 8;  // in chunks
          uint32_t to = project.tokensAt(ring.stage) + s * S::kTokenSlab;
          bool inside = (k + chunk) * 8 < depth;
#pragma unroll
          for (int i = 0; i < kPasses; i++) {
            int r = first + i * kRowsPerPass;
            if (r < item.rows) {
              copy_async_16(to + swizzled(r, chunk), inside ? rows + (static_cast<uint64_t>(at[i]) + k) * 16 : rows,
                            inside ? 16 : 0);
            }
          }
        }
        barrier_arrive_after_copies(project.full(ring.stage));
        ring.advance();
      }
    }
  }

  // Says that this warpgroup's activations of an item are stored.
  __device__ __forceinline__ void arrive(const StreamItem& item, int group) const {
    named_barrier(1 + group, 128);
    if ((threadIdx.x & 127) == 0) {
      asm volatile("fence.acq_rel.gpu;\nred.relaxed.gpu.global.add.s32 [%0], 1;" ::"l"(a.done + item.expert) : "memory");
    }
  }

  __device__ __forceinline__ void store(const StreamItem& item, const typename Project::Sums& d, int group) {
    if (item.second) {
      down.store(item, d, group);
    } else {
      project.store(item, d, group);
      arrive(item, group);
    }
  }

  __device__ __forceinline__ void consume(int tiles) {
    int group = (threadIdx.x >> 7) - 1;
    wait_for_predecessor();
    allow_successor();
    Queue q = queue(tiles);
    StreamItem item{};
    typename Project::Ring ring{0, 0};
    for (int number = receive(q); number < q.items; number = receive(q)) {
      locate(number, tiles, item);
      typename Project::Sums d;
      project.template multiplyAtLeast<8>(item.rows, d, ring, group, steps(of(item)));
#pragma unroll
      for (int b = 0; b < S::kBlocks; b++) pin(d[b]);
      if constexpr (S::kSplit) {
        typename Project::Sums sum;
        if (project.addOther(sum, d, group)) store(item, sum, group);
      } else {
        store(item, d, group);
      }
    }
  }

  __device__ __forceinline__ void run() {
    if (threadIdx.x == 0) {
      prefetch_map(&a.project.weights);
      if constexpr (kPaired) prefetch_map(&a.project.upWeights);
      prefetch_map(&a.down.weights);
    }
    if (a.ids == nullptr) wait_for_predecessor();
    int tiles = listExperts();
    if (threadIdx.x == 0) {
      for (int s = 0; s < kStages; s++) {
        barrier_init(project.full(s), Project::kGatherThreads + 1);
        barrier_init(project.empty(s), 8);
      }
      for (int c = 0; c < kClaims; c++) barrier_init(project.claimed(c), 1);
      barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
      give_registers<Project::kBringing>();
      if (threadIdx.x < 32) {
        bringWeights(tiles);
      } else {
        gatherTokens(tiles);
      }
    } else {
      take_registers<Project::kMultiplying>();
      consume(tiles);
    }
  }
};

}  // namespace weft::experts
