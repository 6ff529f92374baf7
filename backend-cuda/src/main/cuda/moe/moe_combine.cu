// y[t] = sum over slots, in slot order, of weight * out[slot], plus the shared expert's part, times sigmoid(gate) if
// it is gated. F32 sums, one rounding. Slots whose expert is not local are skipped, so their rows are never read.
// A thread owns 16 bytes of a token's row; the rows of its slots are asked for eight at a time.
#include "../common/overlap.cuh"
#include "experts.cuh"

namespace weft {
namespace {

struct CombineArguments {
  const void* out;           // [tokens * topK, hidden], aligned
  const void* shared;        // null, or [tokens, hidden], aligned
  const float* sharedLogit;  // null, or [tokens]
  void* y;
  const int* ids;            // [tokens, topK]
  const float* weights;      // [tokens, topK]
  const int* tokenCount;
  i64 outPitch;              // of shared too
  i64 yPitch;
  i64 idPitch;
  i64 weightPitch;
  int firstToken;
  int tokens;
  int topK;
  int hidden;
  int firstExpert;
  int localExperts;
  int aligned;  // rows of y lie at multiples of 16 bytes
};

// The routing of some slots of a token. It was there before this launch could begin, so it is read before the wait for
// the rows: launches ahead let their successors start only after they have waited for what came before them.
template <int kCount>
struct Slots {
  int expert[kCount];
  float weight[kCount];

  __device__ __forceinline__ void load(const int* ids, const float* weights, int from, int topK) {
#pragma unroll
    for (int i = 0; i < kCount; i++) {
      expert[i] = from + i < topK ? ids[from + i] : -1;
      weight[i] = from + i < topK ? weights[from + i] : 0.0f;
    }
  }
};

template <class E, int V>
__device__ __forceinline__ void combine(const CombineArguments& a) {
  constexpr int kAhead = 8;
  const int columnBlocks = gridDim.x / a.tokens;
  const int token = blockIdx.x / columnBlocks;
  const int column = (blockIdx.x % columnBlocks * blockDim.x + threadIdx.x) * V;
  const int* ids = a.ids + token * a.idPitch;
  const float* weights = a.weights + token * a.weightPitch;
  const int present = presentTokens(a.tokenCount, a.firstToken, a.tokens);
  Slots<kAhead> slots;
  slots.load(ids, weights, 0, a.topK);
  wait_for_predecessor();
  allow_successor();
  if (token >= present || column >= a.hidden) return;
  float sum[V];
#pragma unroll
  for (int i = 0; i < V; i++) sum[i] = 0.0f;
  auto add = [&](const Row<E, V>& row, float weight) {
    float v[V];
    row.widen(v, 0);
#pragma unroll
    for (int i = 0; i < V; i++) sum[i] = fmaf(weight, v[i], sum[i]);
  };
  for (int k = 0; k < a.topK; k += kAhead) {
    if (k > 0) slots.load(ids, weights, k, a.topK);
    Row<E, V> rows[kAhead];
    bool local[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; i++) {
      local[i] = slots.expert[i] >= a.firstExpert && slots.expert[i] < a.firstExpert + a.localExperts;
      if (local[i]) rows[i].template load<false>(a.out, (i64{token} * a.topK + k + i) * a.outPitch + column, 0);
    }
#pragma unroll
    for (int i = 0; i < kAhead; i++) {
      if (local[i]) add(rows[i], slots.weight[i]);
    }
  }
  if (a.shared != nullptr) {
    Row<E, V> row;
    row.template load<false>(a.shared, token * a.outPitch + column, 0);
    add(row, a.sharedLogit == nullptr ? 1.0f : sigmoidOf(a.sharedLogit[token]));
  }
  const i64 y = token * a.yPitch + column;
  Row<E, V> result;
  result.narrow(sum, 0);
  if (a.aligned && column + V <= a.hidden) {
    result.store(a.y, y, 0);
  } else {
#pragma unroll
    for (int i = 0; i < V; i++) {
      if (column + i < a.hidden) {
        Row<E, 1> one;
        one.zero();
        one.put(0, result.bits(i));
        one.store(a.y, y + i, 0);
      }
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256) moe_combine_f32(__grid_constant__ const CombineArguments a) { combine<F32, 4>(a); }
extern "C" __global__ void __launch_bounds__(256) moe_combine_f16(__grid_constant__ const CombineArguments a) { combine<F16, 8>(a); }
extern "C" __global__ void __launch_bounds__(256) moe_combine_bf16(__grid_constant__ const CombineArguments a) { combine<Bf16, 8>(a); }

}  // namespace weft
