// Logits, and from them experts and their weights. All of it F32.
//
// moe_logits_*: logits[t, e] = x[t] . rows[e] + bias[e]. Few tokens: a warp computes one expert's logit of four
// tokens, straight from memory. Many: the tiles of gemm.cuh; on the matrix units products of F16 and BF16 are exact
// and the sums are taken over to F32 adds every 128 elements, since the units cut what they add.
//
// moe_route: a warp chooses a token's experts, one after another: each lane looks for the best key among every 32nd
// expert, the warp for the best of the lanes. Keys are raw logits without a correction bias (a saturated score cannot
// reorder then), else score + bias. They compare as ordered integers: NaN like minus infinity, equal keys go to the
// lower expert, taken ones come last of all. Scores of softmax use the exact difference to the largest logit (its
// rounding error multiplies in), and their sum is taken in F64: neither may move a key by more than a few ulps.
#include "experts.cuh"
#include "gemm.cuh"

namespace weft {
namespace {

constexpr unsigned kAll = 0xffffffffu;

struct LogitArguments {
  const void* x;          // [tokens, hidden]
  const void* rows;       // [experts, hidden]
  const void* bias;       // null, or [experts] in the type of rows
  float* logits;
  const int* tokenCount;  // null, or [1]
  i64 xPitch;
  i64 rowPitch;
  i64 logitPitch;
  int tokens;
  int experts;
  int hidden;
  int xType;
  int rowType;
  int aligned;  // all rows lie at multiples of 16 bytes
};

__device__ __forceinline__ const void* rowAt(const void* base, i64 element, int type) {
  return static_cast<const char*>(base) + element * (type == kF32 ? 4 : 2);
}

__device__ __forceinline__ void putLogit(const LogitArguments& a, int token, int expert, float v) {
  if (a.bias != nullptr) {
    Row<Any, 1> r;
    r.load<true>(a.bias, expert, a.rowType);
    v += Any::widen(r.w[0], a.rowType);
  }
  a.logits[token * a.logitPitch + expert] = v;
}

template <class E>
__device__ __forceinline__ void logitsOnMatrixUnits(const LogitArguments& a) {
  using T = MmaTile<E, 64, 64, 2, 2, 3, 2>;
  __shared__ __align__(1024) char shared[T::kSharedBytes];
  const int present = presentTokens(a.tokenCount, 0, a.tokens);
  const int columnTiles = (a.experts + T::kColumns - 1) / T::kColumns;
  const int token = static_cast<int>(blockIdx.x) / columnTiles * T::kRows;
  const int expert = static_cast<int>(blockIdx.x) % columnTiles * T::kColumns;
  if (token >= present) return;
  T tile;
  tile.run(
      shared, [&](int r) { return token + r < present ? rowAt(a.x, (token + r) * a.xPitch, kBf16) : nullptr; },
      [&](int c) { return expert + c < a.experts ? rowAt(a.rows, (expert + c) * a.rowPitch, kBf16) : nullptr; }, a.hidden,
      a.aligned, a.aligned, a.x);
#pragma unroll
  for (int m = 0; m < T::kM; m++)
#pragma unroll
    for (int n = 0; n < T::kN; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        int t = token + T::row(m, i);
        int e = expert + T::column(n, i);
        if (t < present && e < a.experts) putLogit(a, t, e, tile.sum[m][n][i]);
      }
}

// An order of floats as of unsigned numbers; 0 comes before all.
__device__ __forceinline__ unsigned ordered(float key) {
  key = key == key ? key + 0.0f : -INFINITY;  // minus zero equals zero
  unsigned bits = __float_as_uint(key);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

template <class V>
struct Output {  // null: not wanted
  V* base;
  i64 pitch;
  __device__ __forceinline__ void put(int row, int column, V v) const {
    if (base != nullptr) base[row * pitch + column] = v;
  }
};

enum Score : int { kIdentity = 0, kSoftmax = 1, kSigmoid = 2 };
enum Normalize : int { kNone = 0, kSum = 1, kOverChosen = 2 };

struct RoutingArguments {
  const float* logits;    // [tokens, experts]
  const float* bias;      // null, or [experts]: the correction bias
  const int* tokenCount;  // null, or [1]
  int* ids;               // [tokens, topK], dense
  float* weights;         // [tokens, topK], dense
  Output<int> idsOut;
  Output<int> idsSaved;
  Output<float> weightsOut;
  Output<float> weightsSaved;
  Output<float> logitsOut;
  Output<float> logitsSaved;
  i64 logitPitch;
  int tokens;
  int experts;
  int topK;
  int score;
  int groups;
  int topkGroups;
  int groupsByTwoBest;
  int normalize;
  float epsilon;
  float factor;
};

__device__ __forceinline__ double warpSum(double v) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(kAll, v, d);
  return v;
}
__device__ __forceinline__ float warpMax(float v) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) v = fmaxf(v, __shfl_xor_sync(kAll, v, d));
  return v;
}

// exp(v - m), good to an ulp or two however large the difference.
__device__ __forceinline__ float expOfDifference(float v, float m) {
  float d = v - m;
  float e = expf(d);
  float back = d - v;
  float lost = (v - (d - back)) + (-m - back);  // v - m - d, exactly
  return isfinite(d) ? fmaf(e, lost, e) : e;
}

// The index of the best of n ordered keys, the lower one where they are equal. All lanes get it.
__device__ __forceinline__ int bestOf(const unsigned* keys, int n) {
  const int lane = threadIdx.x % 32;
  unsigned best = 0;
  int at = lane;
  for (int i = lane; i < n; i += 32) {
    unsigned key = keys[i];
    if (key > best) {
      best = key;
      at = i;
    }
  }
  unsigned top = __reduce_max_sync(kAll, best);
  return __reduce_min_sync(kAll, best == top ? at : 0x7fffffff);
}

}  // namespace

// A warp for each expert and four tokens.
extern "C" __global__ void __launch_bounds__(128) moe_logits_few(__grid_constant__ const LogitArguments a) {
  constexpr int kTokens = 4;
  const int present = presentTokens(a.tokenCount, 0, a.tokens);
  const int lane = threadIdx.x % 32;
  const int expertBlocks = (a.experts + 3) / 4;
  const int expert = static_cast<int>(blockIdx.x) % expertBlocks * 4 + threadIdx.x / 32;
  const int token = static_cast<int>(blockIdx.x) / expertBlocks * kTokens;
  if (expert >= a.experts || token >= present) return;
  const void* row = rowAt(a.rows, expert * a.rowPitch, a.rowType);
  const void* x[kTokens];
  float sum[kTokens];
#pragma unroll
  for (int i = 0; i < kTokens; i++) {
    x[i] = token + i < present ? rowAt(a.x, (token + i) * a.xPitch, a.xType) : nullptr;
    sum[i] = 0.0f;
  }
  for (int k = lane * 4; k < a.hidden; k += 128) {
    float w[4], v[4];
    loadFour(w, row, a.rowType, a.aligned, k, a.hidden);
#pragma unroll
    for (int i = 0; i < kTokens; i++) {
      loadFour(v, x[i], a.xType, a.aligned, k, a.hidden);
#pragma unroll
      for (int j = 0; j < 4; j++) sum[i] = fmaf(w[j], v[j], sum[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < kTokens; i++) {
#pragma unroll
    for (int d = 16; d > 0; d /= 2) sum[i] += __shfl_xor_sync(kAll, sum[i], d);
    if (lane == 0 && token + i < present) putLogit(a, token + i, expert, sum[i]);
  }
}

extern "C" __global__ void __launch_bounds__(FmaTile::kThreads, 2) moe_logits_any(__grid_constant__ const LogitArguments a) {
  __shared__ FmaTile::Shared shared;
  const int present = presentTokens(a.tokenCount, 0, a.tokens);
  const int columnTiles = (a.experts + FmaTile::kColumns - 1) / FmaTile::kColumns;
  const int token = static_cast<int>(blockIdx.x) / columnTiles * FmaTile::kRows;
  const int expert = static_cast<int>(blockIdx.x) % columnTiles * FmaTile::kColumns;
  if (token >= present) return;
  FmaTile tile;
  tile.run(
      shared, [&](int r) { return token + r < present ? rowAt(a.x, (token + r) * a.xPitch, a.xType) : nullptr; },
      [&](int c) { return expert + c < a.experts ? rowAt(a.rows, (expert + c) * a.rowPitch, a.rowType) : nullptr; }, a.hidden,
      a.xType, a.rowType, a.aligned, a.aligned);
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int t = token + FmaTile::row(i);
      int e = expert + FmaTile::column(j);
      if (t < present && e < a.experts) putLogit(a, t, e, tile.sum[i][j]);
    }
}

extern "C" __global__ void __launch_bounds__(128, 3) moe_logits_bf16(__grid_constant__ const LogitArguments a) { logitsOnMatrixUnits<Bf16>(a); }
extern "C" __global__ void __launch_bounds__(128, 3) moe_logits_f16(__grid_constant__ const LogitArguments a) { logitsOnMatrixUnits<F16>(a); }

// A warp for each token; shared memory of a warp: scores [E] F32, ordered keys [E], ordered group scores [groups].
extern "C" __global__ void __launch_bounds__(128) moe_route(__grid_constant__ const RoutingArguments a) {
  extern __shared__ float shared[];
  const int lane = threadIdx.x % 32;
  const int token = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (token >= presentTokens(a.tokenCount, 0, a.tokens)) return;
  float* scores = shared + threadIdx.x / 32 * (2 * a.experts + a.groups);
  unsigned* keys = reinterpret_cast<unsigned*>(scores + a.experts);
  unsigned* groupKeys = keys + a.experts;
  const float* logits = a.logits + token * a.logitPitch;

  float most = -INFINITY;
  for (int e = lane; e < a.experts; e += 32) {
    float l = logits[e];
    a.logitsOut.put(token, e, l);
    a.logitsSaved.put(token, e, l);
    scores[e] = l;
    keys[e] = ordered(l);
    most = fmaxf(most, l);  // passes over NaN
  }
  if (a.score == kSoftmax) {
    most = warpMax(most);
    double sum = 0.0;
    for (int e = lane; e < a.experts; e += 32) {
      float p = expOfDifference(scores[e], most);
      scores[e] = p;
      sum += p;
    }
    sum = warpSum(sum);
    for (int e = lane; e < a.experts; e += 32) scores[e] = static_cast<float>(scores[e] / sum);
  } else if (a.score == kSigmoid) {
    for (int e = lane; e < a.experts; e += 32) scores[e] = sigmoidOf(scores[e]);
  }
  // A lane reads back only what it wrote up to here.
  if (a.bias != nullptr) {
    for (int e = lane; e < a.experts; e += 32) keys[e] = ordered(scores[e] + __ldg(a.bias + e));
  }
  __syncwarp();

  if (a.groups > 1) {
    const int size = a.experts / a.groups;
    const bool byScore = a.groupsByTwoBest && a.bias == nullptr;
    for (int g = lane; g < a.groups; g += 32) {
      float first = -INFINITY, second = -INFINITY;
      for (int i = 0; i < size; i++) {
        const int e = g * size + i;
        float key = byScore ? scores[e] : a.bias != nullptr ? scores[e] + __ldg(a.bias + e) : logits[e];
        key = key == key ? key : -INFINITY;
        if (key > first) {
          second = first;
          first = key;
        } else if (key > second) {
          second = key;
        }
      }
      groupKeys[g] = ordered(a.groupsByTwoBest && size > 1 ? first + second : first);
    }
    __syncwarp();
    for (int k = 0; k < a.topkGroups; k++) {
      int g = bestOf(groupKeys, a.groups);
      __syncwarp();
      if (lane == 0) groupKeys[g] = 0;
      __syncwarp();
    }
    const unsigned last = ordered(-INFINITY);
    for (int e = lane; e < a.experts; e += 32) {
      if (groupKeys[e / size] != 0) keys[e] = last;
    }
    __syncwarp();
  }

  // Lane k % 32 keeps the choice of slot k in memory; the sum and the largest are everyone's.
  int* ids = a.ids + i64{token} * a.topK;
  float sum = 0.0f;
  float largest = -INFINITY;
  for (int k = 0; k < a.topK; k++) {
    int e = bestOf(keys, a.experts);
    __syncwarp();
    if (lane == 0) {
      keys[e] = 0;
      ids[k] = e;
      a.idsOut.put(token, k, e);
      a.idsSaved.put(token, k, e);
    }
    sum += scores[e];
    largest = fmaxf(largest, scores[e]);
    __syncwarp();
  }
  if (a.normalize == kOverChosen) {
    double all = 0.0;
    for (int k = lane; k < a.topK; k += 32) all += expOfDifference(scores[ids[k]], largest);
    sum = static_cast<float>(warpSum(all));
  } else {
    sum += a.epsilon;
  }
  for (int k = lane; k < a.topK; k += 32) {
    float s = scores[ids[k]];
    float w = a.normalize == kOverChosen ? expOfDifference(s, largest) / sum
              : a.normalize == kSum      ? (sum == 0.0f ? 0.0f : s / sum)
                                         : s;
    w *= a.factor;
    a.weights[i64{token} * a.topK + k] = w;
    a.weightsOut.put(token, k, w);
    a.weightsSaved.put(token, k, w);
  }
}

struct CopyArguments {
  const int* ids;
  const float* weights;
  int* idsTo;
  float* weightsTo;
  const int* tokenCount;
  i64 idPitch;
  i64 weightPitch;
  i64 idToPitch;
  i64 weightToPitch;
  int tokens;
  int topK;
};

// Saves a routing that was given. A thread for each slot.
extern "C" __global__ void __launch_bounds__(256) moe_copy_routing(__grid_constant__ const CopyArguments a) {
  i64 slot = i64{blockIdx.x} * blockDim.x + threadIdx.x;
  i64 token = slot / a.topK;
  i64 k = slot - token * a.topK;
  if (token >= presentTokens(a.tokenCount, 0, a.tokens)) return;
  a.idsTo[token * a.idToPitch + k] = a.ids[token * a.idPitch + k];
  a.weightsTo[token * a.weightToPitch + k] = a.weights[token * a.weightPitch + k];
}

}  // namespace weft
