// The router's part of the backward pass, all in F32: from the gradients of the slots' weights to those of the
// logits, to dx, and to the router's own parameters. The logit of a shared expert's gate is one column more.
//
//   tokens          a warp for each token: gradients of its slots' weights, then of its logits
//   dx              dx[t] = dlogits[t] router_weight + the slots' dx in slot order + the shared expert's
//   router_weights  dlogits^T x, in pieces of tokens, which router_sums adds in order
#include "backward.cuh"

using namespace weft;
using namespace weft::moe_backward;

namespace {

constexpr int kTokenThreads = 128;

// As RouterSpec has them.
enum Score : int { kIdentity = 0, kSoftmax = 1, kSigmoid = 2 };
enum Normalize : int { kNone = 0, kSum = 1, kSoftmaxOfChosen = 2 };

__device__ __forceinline__ float warpMax(float v) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, d));
  return v;
}

}  // namespace

struct TokenArguments {
  Slots slots;             // the local experts'
  const int* permutation;  // [rows]
  int* inverse;            // [rows]: in, a guess; out, where a slot lies in the permutation, or -1
  const int* ids;          // [T, topK]
  const float* logits;     // [T, experts], or null: no router
  const float* auxiliary;  // [T, experts], or null
  const int* tokenCount;   // or null
  const float* weightSums;  // [sumTiles, rows]
  Matrix dy, downBias;     // no bias: a null base
  float* dweights;         // [T, topK]
  float* dscores;          // [T, topK]
  float* dgivenWeights;    // [T, topK], or null
  float* dlogits;          // [T, experts], or null
  float* columns;          // [T, columnPitch]: dlogits and the shared gate's, or null
  const float* sharedSums;     // [sharedTiles, T]
  const float* sharedWeights;  // [T]
  const float* sharedLogits;   // [T], or null: no gate
  i64 idPitch, logitPitch, auxiliaryPitch, dgivenPitch, dlogitPitch, columnPitch, tokens;
  int topK, experts, firstExpert, localExperts;
  int sumTiles, sharedTiles, hidden, routerColumns;  // routerColumns: 0 or experts
  int score, normalize;
  float epsilon, scalingFactor;
};

struct Token {
  const TokenArguments& a;
  i64 t;
  int lane;

  __device__ __forceinline__ int id(int k) const { return a.ids[t * a.idPitch + k]; }
  __device__ __forceinline__ bool isExpert(int id) const { return id >= 0 && id < a.experts; }
  __device__ __forceinline__ float logit(int e) const { return a.logits[t * a.logitPitch + e]; }

  // Gradients of the weights of the token's slots: 0 where nobody computes the slot here.
  __device__ __forceinline__ void weights() const {
    for (int k = 0; k < a.topK; k++) {
      i64 slot = t * a.topK + k, local = static_cast<i64>(id(k)) - a.firstExpert;
      int p = -1;
      if (local >= 0 && local < a.localExperts) {
        int2 last = a.slots.experts[a.localExperts - 1];
        p = a.inverse[slot];
        if (p < 0 || p >= last.x + last.y || a.permutation[p] != slot) p = -1;
      }
      float sum = 0;
      if (p >= 0) {
        for (int i = lane; i < a.sumTiles; i += 32) sum += a.weightSums[i * a.slots.rows + p];
        if (a.downBias.base) {
          for (int h = lane * 4; h < a.hidden; h += 128) {
            float4 d = load4(a.dy.at(0, t, h), a.dy.type, a.hidden - h);
            float4 b = load4(a.downBias.at(local, 0, h), a.downBias.type, a.hidden - h);
            sum = fmaf(d.x, b.x, fmaf(d.y, b.y, fmaf(d.z, b.z, fmaf(d.w, b.w, sum))));
          }
        }
        sum = warpSum(sum);
      }
      if (lane == 0) {
        a.inverse[slot] = p;
        a.dweights[slot] = sum;
        if (a.dgivenWeights) a.dgivenWeights[t * a.dgivenPitch + k] = sum;
      }
    }
    __syncwarp();
  }

  // max and 1 / sum of a softmax over all experts; NaN sorts with minus infinity.
  __device__ __forceinline__ void softmax(float& most, float& total) const {
    float m = -INFINITY;
    for (int e = lane; e < a.experts; e += 32) {
      float l = logit(e);
      m = l > m ? l : m;
    }
    most = warpMax(m);
    float s = 0;
    for (int e = lane; e < a.experts; e += 32) s += expf(logit(e) - most);
    total = warpSum(s);
  }

  __device__ __forceinline__ float score(int e, float most, float total) const {
    float l = logit(e);
    return a.score == kIdentity ? l : a.score == kSigmoid ? sigmoidOf(l) : expf(l - most) / total;
  }

  __device__ __forceinline__ void logits() const {
    float most = 0, total = 1;
    if (a.score == kSoftmax) softmax(most, total);
    // All lanes do the same over the few slots.
    const float* dweights = a.dweights + t * a.topK;
    float denominator = a.epsilon, best = -INFINITY, exponentials = 0, mean = 0;
    for (int k = 0; k < a.topK; k++) {
      int e = id(k);
      if (!isExpert(e)) continue;
      float s = score(e, most, total);
      denominator += s;
      best = s > best ? s : best;
    }
    if (a.normalize == kSoftmaxOfChosen) {
      for (int k = 0; k < a.topK; k++) {
        int e = id(k);
        if (isExpert(e)) exponentials += expf(score(e, most, total) - best);
      }
    }
    auto normalized = [&](int e) {
      float s = score(e, most, total);
      return a.normalize == kSum ? (denominator == 0 ? 0 : s / denominator) : expf(s - best) / exponentials;
    };
    if (a.normalize != kNone) {
      for (int k = 0; k < a.topK; k++) {
        int e = id(k);
        if (isExpert(e)) mean = fmaf(dweights[k], normalized(e), mean);
      }
    }
    float weighted = 0;  // sum of dscore score
    for (int k = 0; k < a.topK; k++) {
      int e = id(k);
      float d = 0;
      if (isExpert(e)) {
        d = dweights[k];
        if (a.normalize == kSum) {
          d = denominator == 0 ? 0 : (d - mean) / denominator;
        } else if (a.normalize == kSoftmaxOfChosen) {
          d = normalized(e) * (d - mean);
        }
        d *= a.scalingFactor;
        if (a.score == kSoftmax) weighted = fmaf(d, score(e, most, total), weighted);
      }
      if (lane == 0) a.dscores[t * a.topK + k] = d;
    }
    __syncwarp();
    for (int e = lane; e < a.experts; e += 32) {
      float d = 0;
      bool chosen = false;
      for (int k = 0; k < a.topK; k++) {
        if (id(k) == e) {
          d += a.dscores[t * a.topK + k];
          chosen = true;
        }
      }
      if (a.score == kSigmoid) {
        float l = logit(e);
        d = chosen ? d * (sigmoidOf(l) * sigmoidOf(-l)) : 0;
      } else if (a.score == kSoftmax) {
        d = score(e, most, total) * (d - weighted);
      }
      if (a.auxiliary) d += a.auxiliary[t * a.auxiliaryPitch + e];
      if (a.dlogits) a.dlogits[t * a.dlogitPitch + e] = d;
      if (e < a.routerColumns) a.columns[t * a.columnPitch + e] = d;
    }
  }

  __device__ __forceinline__ void sharedGate() const {
    float sum = 0;
    for (int i = lane; i < a.sharedTiles; i += 32) sum += a.sharedSums[i * a.tokens + t];
    sum = warpSum(sum);
    if (lane == 0) {
      a.columns[t * a.columnPitch + a.routerColumns] = sum * (a.sharedWeights[t] * sigmoidOf(-a.sharedLogits[t]));
    }
  }
};

extern "C" __global__ void __launch_bounds__(kTokenThreads) moe_backward_tokens(const __grid_constant__ TokenArguments a) {
  i64 t = (static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  if (t >= present(a.tokenCount, a.tokens)) return;
  Token token{a, t, static_cast<int>(threadIdx.x & 31)};
  token.weights();
  if (a.logits) token.logits();
  if (a.sharedLogits) token.sharedGate();
}

// ---- dx ------------------------------------------------------------------------------------------------------

struct DxArguments {
  Matrix columns;        // [T, C] F32
  Projection weight;     // [C, H]: gates are the router's rows, the one up is the shared gate's
  const int* inverse;    // [T, topK]
  const int* tokenCount;
  Matrix slotDx;         // [rows, H]
  Matrix sharedDx;       // [T, H]; no shared expert: a null base
  Matrix dx;
  i64 tokens;
  int topK, hidden, columnCount, columnTiles;
};

extern "C" __global__ void __launch_bounds__(kThreads, 1) moe_backward_dx(const __grid_constant__ DxArguments a) {
  extern __shared__ __align__(128) char shared[];
  i64 tokens = present(a.tokenCount, a.tokens);
  i64 first = static_cast<i64>(blockIdx.x / a.columnTiles) * kTile;
  int column = static_cast<int>(blockIdx.x % a.columnTiles) * kTile;
  if (first >= tokens) return;
  int rows = static_cast<int>(min(tokens - first, static_cast<i64>(kTile)));
  Operand left = {plainRows(a.columns, 0, static_cast<int>(first), rows), 0, a.columnCount};
  Operand right = {a.weight.rows(0, a.columnCount), column, a.hidden};
  using Product = FloatTile<true, false>;
  product<Product>(left, right, a.columnCount, shared);
  eachRow<Product>(shared, rows, [&](int r, int c, float4 v) {
    i64 t = first + r;
    int at = column + c, valid = a.hidden - at;
    if (valid <= 0) return;
    float4 sum = make_float4(0, 0, 0, 0);
    auto add = [&](const char* p, int type) {
      float4 d = load4(p, type, valid);
      sum.x += d.x;
      sum.y += d.y;
      sum.z += d.z;
      sum.w += d.w;
    };
    for (int k = 0; k < a.topK; k++) {
      int p = a.inverse[t * a.topK + k];
      if (p >= 0) add(a.slotDx.at(0, p, at), a.slotDx.type);
    }
    if (a.sharedDx.base) add(a.sharedDx.at(0, t, at), a.sharedDx.type);
    store4(const_cast<char*>(a.dx.at(0, t, at)), a.dx.type,
           make_float4(sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w), valid);
  });
}

// ---- router weights --------------------------------------------------------------------------------------------

struct RouterWeightArguments {
  Matrix columns;  // [T, C] F32
  Matrix x;
  const int* tokenCount;
  float* partial;  // [pieces, C, H]
  i64 tokens;
  int hidden, columnCount, rowTiles, columnTiles;
  int piece, unused;  // tokens of a piece
};

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    moe_backward_router_weights(const __grid_constant__ RouterWeightArguments a) {
  extern __shared__ __align__(128) char shared[];
  int tiles = a.rowTiles * a.columnTiles;
  i64 piece = blockIdx.x / tiles;
  int id = static_cast<int>(blockIdx.x % tiles);
  int row = id % a.rowTiles * kTile, column = id / a.rowTiles * kTile;
  i64 first = piece * a.piece;
  int depth = static_cast<int>(max(min(present(a.tokenCount, a.tokens) - first, static_cast<i64>(a.piece)), 0LL));
  Operand left = {plainRows(a.columns, 0, static_cast<int>(first), depth), row, a.columnCount};
  Operand right = {plainRows(a.x, 0, static_cast<int>(first), depth), column, a.hidden};
  using Product = FloatTile<false, false>;
  product<Product>(left, right, depth, shared);
  eachRow<Product>(shared, min(a.columnCount - row, kTile), [&](int r, int c, float4 v) {
    int valid = a.hidden - column - c;
    if (valid <= 0) return;
    float* at = a.partial + (piece * a.columnCount + row + r) * a.hidden + column + c;
    store4(reinterpret_cast<char*>(at), kF32, v, valid);
  });
}

struct RouterSumArguments {
  const float* partial;  // [pieces, C, H]
  Projection out;        // [C, H]: gates are the router's rows, the one up is the shared gate's; null: not written
  i64 pieces;
  int hidden, columnCount, accumulate, unused;
};

// A thread for each element.
extern "C" __global__ void __launch_bounds__(kTokenThreads) moe_backward_router_sums(const __grid_constant__ RouterSumArguments a) {
  i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  i64 all = static_cast<i64>(a.columnCount) * a.hidden;
  if (i >= all) return;
  int row = static_cast<int>(i / a.hidden);
  if (!a.out.has(row)) return;
  float sum = 0;
#pragma unroll 4
  for (i64 piece = 0; piece < a.pieces; piece++) sum += a.partial[piece * all + i];
  char* at = const_cast<char*>(a.out.at(0, row)) + i % a.hidden * bytesOf(a.out.type);
  storeElement(at, a.out.type, a.accumulate ? sum + loadElement(at, a.out.type) : sum);
}
