// Who the slots of a backward pass are: from the ids, weights and permutation that forward saved to the lists that
// backward.cuh works off. Two launches; the shared expert's are made of the tokens themselves. Ids, slots and the
// token count are read as they are and count for nothing where they are out of range. Where the pass works in groups
// of tokens, T is the group's, and its permutation is one of its own (moe_sort.cu).
#include "backward.cuh"

using namespace weft;
using namespace weft::moe_backward;

namespace {
constexpr int kListThreads = 256;

}  // namespace

struct RowArguments {
  const int* permutation;  // [rows]
  const int* ids;          // [T, topK]
  const float* weights;    // [T, topK]
  const int* tokenCount;   // of all groups; or null
  i64 idPitch, weightPitch;
  i64 tokens, rows;        // rows = tokens * topK
  int* starts;             // [experts + 1]: where each expert's slots begin in the permutation
  int* rowTokens;          // [rows]
  float* rowWeights;       // [rows]
  int* inverse;            // [rows]: where a slot lies in the permutation; checked by those who read it
  int2* allTokens;         // [1]: the tokens that are there, as the slots of one expert
  const int* zOfSlot;      // [T * topK]: the row of z that forward saved for a slot; null: the slot's place
  int* zRows;              // [rows]: the same for each place
  int topK, firstExpert, experts, firstToken;
};

// One thread for each place in the permutation and one for its end. The permutation is ordered by expert: an expert
// starts where the local expert to its left is a lower one.
extern "C" __global__ void __launch_bounds__(kListThreads) moe_backward_rows(const __grid_constant__ RowArguments a) {
  i64 p = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (p > a.rows) return;
  i64 tokens = a.tokenCount ? min(max(static_cast<i64>(*a.tokenCount) - a.firstToken, 0LL), a.tokens) : a.tokens;
  i64 slots = tokens * a.topK;
  auto expertAt = [&](i64 at) {  // a.experts where there is none
    if (at >= a.rows) return a.experts;
    i64 slot = a.permutation[at];
    if (slot < 0 || slot >= slots) return a.experts;
    i64 id = static_cast<i64>(a.ids[slot / a.topK * a.idPitch + slot % a.topK]) - a.firstExpert;
    return id < 0 || id >= a.experts ? a.experts : static_cast<int>(id);
  };
  int expert = expertAt(p);
  int before = p > 0 ? expertAt(p - 1) : -1;
  for (int e = before + 1; e <= expert; e++) a.starts[e] = static_cast<int>(p);
  if (p == 0) *a.allTokens = make_int2(0, static_cast<int>(tokens));
  if (p < a.rows) {
    bool local = expert < a.experts;
    i64 slot = local ? a.permutation[p] : 0;
    a.rowTokens[p] = local ? static_cast<int>(slot / a.topK) : -1;
    a.rowWeights[p] = local ? a.weights[slot / a.topK * a.weightPitch + slot % a.topK] : 0;
    if (local) a.inverse[slot] = static_cast<int>(p);
    if (a.zRows) a.zRows[p] = local ? max(a.zOfSlot[slot], 0) : 0;
  }
}

struct SharedRowArguments {
  Matrix x;
  Matrix gate;            // [1, H], or a null base: no gate
  const int* tokenCount;  // or null
  i64 tokens;
  int* starts;            // [2]
  int* rowTokens;         // [T]
  float* rowWeights;      // [T]: sigmoid(x . gate), or 1
  float* logits;          // [T]: x . gate
  int hidden, unused;
};

// A warp for each token.
extern "C" __global__ void __launch_bounds__(kListThreads)
    moe_backward_shared_rows(const __grid_constant__ SharedRowArguments a) {
  i64 t = (static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  int lane = threadIdx.x & 31;
  i64 tokens = present(a.tokenCount, a.tokens);
  if (t == 0 && lane == 0) {
    a.starts[0] = 0;
    a.starts[1] = static_cast<int>(tokens);
  }
  if (t >= tokens) return;
  float logit = 0;
  if (a.gate.base) {
    for (int h = lane * 4; h < a.hidden; h += 128) {
      float4 x = load4(a.x.at(0, t, h), a.x.type, a.hidden - h);
      float4 g = load4(a.gate.at(0, 0, h), a.gate.type, a.hidden - h);
      logit = fmaf(x.x, g.x, fmaf(x.y, g.y, fmaf(x.z, g.z, fmaf(x.w, g.w, logit))));
    }
    logit = warpSum(logit);
  }
  if (lane == 0) {
    a.rowTokens[t] = static_cast<int>(t);
    a.rowWeights[t] = a.gate.base ? sigmoidOf(logit) : 1.0f;
    a.logits[t] = logit;
  }
}

struct TileArguments {
  const int* starts;  // [experts + 1]
  int2* experts;      // [experts]: first slot, number of slots
  int2* tiles;        // [mostTiles]: expert, first slot within it
  int* tileCount;
  i64 rows, mostTiles;
  int expertCount, unused;
};

// One block: cuts each expert's slots into tiles, in order. Starts that do not ascend, as no forward writes them,
// are bent until they do.
extern "C" __global__ void __launch_bounds__(1024) moe_backward_tiles(const __grid_constant__ TileArguments a) {
  __shared__ int warpTotals[32];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  i64 before = 0;  // tiles of the experts before this round's
  for (int base = 0; base < a.expertCount; base += 1024) {
    int e = base + threadIdx.x, count = 0;
    if (e < a.expertCount) {
      i64 first = min(max(static_cast<i64>(a.starts[e]), 0LL), a.rows);
      i64 end = min(max(static_cast<i64>(a.starts[e + 1]), first), a.rows);
      count = static_cast<int>(end - first);
      a.experts[e] = make_int2(static_cast<int>(first), count);
    }
    int tiles = count / kTile + (count % kTile != 0);
    int sum = tiles;
#pragma unroll
    for (int d = 1; d < 32; d <<= 1) {
      int left = __shfl_up_sync(0xffffffffu, sum, d);
      if (lane >= d) sum += left;
    }
    if (lane == 31) warpTotals[warp] = sum;
    __syncthreads();
    i64 at = before + sum - tiles;
    i64 all = 0;
    for (int w = 0; w < 32; w++) {
      if (w < warp) at += warpTotals[w];
      all += warpTotals[w];
    }
    for (int i = 0; i < tiles && at + i < a.mostTiles; i++) a.tiles[at + i] = make_int2(e, i * kTile);
    before += all;
    __syncthreads();
  }
  if (threadIdx.x == 0) *a.tileCount = static_cast<int>(min(before, a.mostTiles));
}

struct ColumnSumArguments {
  Slots slots;
  Matrix values;     // rows of slots, or of tokens
  Projection out;    // rows of one element, one for each column; those whose base is null are not written
  int columns, byToken, weighted, accumulate;
};

// out[expert, column] = sum over the expert's slots, weighted or not. A block for 32 columns of an expert; 32 warps
// take every 32nd slot, and their sums are added in order.
extern "C" __global__ void __launch_bounds__(1024) moe_backward_column_sums(const __grid_constant__ ColumnSumArguments a) {
  __shared__ float sums[32][33];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  int tiles = (a.columns + 31) / 32;
  int expert = static_cast<int>(blockIdx.x / tiles);
  int column = static_cast<int>(blockIdx.x % tiles) * 32 + lane;
  int2 slots = a.slots.experts[expert];
  float sum = 0;
  if (column < a.columns) {
#pragma unroll 4
    for (int i = warp; i < slots.y; i += 32) {
      i64 p = static_cast<i64>(slots.x) + i;
      i64 row = a.byToken ? a.slots.tokens[p] : p;
      if (row >= 0) {
        float v = loadElement(a.values.at(0, row, column), a.values.type);
        sum = a.weighted ? fmaf(a.slots.weights[p], v, sum) : sum + v;
      }
    }
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && column < a.columns && a.out.has(column)) {
    for (int w = 1; w < 32; w++) sum += sums[w][lane];
    char* at = const_cast<char*>(a.out.at(expert, column));
    storeElement(at, a.out.type, a.accumulate ? sum + loadElement(at, a.out.type) : sum);
  }
}
