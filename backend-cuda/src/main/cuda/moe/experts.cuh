// What the kernels of MoE's experts are given, whichever of them run: the generic ones (moe_experts.cu) and those of one
// architecture (sm_90a/). The Java side is ExpertWork.java; fields have its order.
//
// Rows are (token, slot) pairs sorted by expert ("sorted rows"): row p belongs to slot permutation[p] = token * topK +
// k, whose token is permutation[p] / topK. Expert e, counted within the local range, owns rows
// offsets[e] .. offsets[e + 1]. Without a permutation (the shared expert) row p is token p, there is one expert, and
// the number of rows is *tokenCount, if there is one, else `tokens`.
//
//   project: z[p] = x[token(p)] * [gate; up]^T + bias, act[p] = f(z[p])     act: dense rows in sorted order
//   down:    out[slot(p)] = act[p] * down^T + bias                          out: rows in slot order (or by token)
//
// act and out lie in scratch memory of the call, in the type of x, 16-byte aligned with a pitch that is a multiple of
// 16 bytes; columns beyond the width hold nothing and may be written. Rows of out that no slot here owns stay unwritten.
#pragma once
#include "../common/rows.cuh"

namespace weft {

// Row i of expert e starts at element e * expert + i * row of base. A bias: the element there. base null: none.
struct WeightRows {
  const void* base;
  i64 expert;
  i64 row;
};

// An entry of a tile list: tiles are counted per expert, so that a raster may walk one expert's tiles before the next.
// All tiles of an expert have the same entry; tile number j of the list covers sorted rows
// begin + (j - first) * tileRows up to the smaller of end and that plus tileRows. Entry 0 of the list's memory is
// {number of tiles, 0, 0, 0}; tile j is entry j + 1.
struct Tile {
  int expert;  // within the local range
  int begin;   // the expert's first sorted row
  int end;     // and its last, exclusive
  int first;   // number of the expert's first tile
};

// As ExpertActivation.java.
enum ExpertActivation : int { kSwiglu = 0, kSwigluClamped = 1, kGeglu = 2, kGegluTanh = 3, kRelu2 = 4 };

struct ProjectArguments {
  const void* x;           // [tokens, hidden]
  void* act;               // [rows, width]
  void* z;                 // null, or [rows, 2 width] (RELU2: [rows, width]) in the type of x: gate, then up
  const int* zRows;        // null: row p of z is sorted row p; else it is zRows[permutation[p]]
  const int* permutation;  // null: rows are tokens
  const int* offsets;      // [experts + 1], null with permutation
  const Tile* tiles;       // the list for project's tile rows; null with permutation, or where none was asked for
  const int* tokenCount;   // null, or [1]
  WeightRows gate;         // base null for RELU2
  WeightRows up;
  WeightRows gateBias;
  WeightRows upBias;
  i64 xPitch;
  i64 actPitch;
  i64 zPitch;
  int firstToken;  // tokens are counted from before this row of x, where there is a tokenCount
  int tokens;
  int experts;
  int topK;
  int hidden;
  int width;
  int xType;
  int weightType;
  int activation;
  float alpha;
  float limit;
  int aligned;  // x and all weight rows lie at multiples of 16 bytes
  int mostTiles;  // what the grid was made for
};

struct DownArguments {
  const void* act;
  void* out;               // [tokens * topK, hidden], or [tokens, hidden] without a permutation
  const int* permutation;
  const int* offsets;
  const Tile* tiles;       // the list for down's tile rows
  const int* tokenCount;
  WeightRows down;
  WeightRows downBias;
  i64 actPitch;
  i64 outPitch;
  int firstToken;  // tokens are counted from before this row of x, where there is a tokenCount
  int tokens;
  int experts;
  int hidden;
  int width;
  int xType;
  int weightType;
  int aligned;  // all weight rows lie at multiples of 16 bytes; act always does
  int mostTiles;
};

// The number of rows where there is no permutation.
__device__ __forceinline__ int presentTokens(const int* tokenCount, int firstToken, int tokens) {
  return tokenCount == nullptr ? tokens : min(max(*tokenCount, firstToken) - firstToken, tokens);
}

// The tile of a block, by number of the tile list; an expert of -1 says that there is none.
template <class Arguments>
__device__ __forceinline__ Tile tileAt(const Arguments& a, int number, int rows) {
  if (a.tiles == nullptr) {
    int present = presentTokens(a.tokenCount, a.firstToken, a.tokens);
    return Tile{number * i64{rows} < present ? 0 : -1, 0, present, 0};
  }
  const int4* list = reinterpret_cast<const int4*>(a.tiles);
  if (number >= list[0].x) return Tile{-1, 0, 0, 0};
  int4 t = list[number + 1];
  return Tile{t.x, t.y, t.z, t.w};
}

// f(gate, up), exact to a few units of float's last place over its whole range.
__device__ __forceinline__ float sigmoidOf(float v) { return 1.0f / (1.0f + expf(-v)); }

__device__ __forceinline__ float activate(int activation, float alpha, float limit, float g, float u) {
  switch (activation) {
    case kSwiglu: return g * sigmoidOf(g) * u;
    case kSwigluClamped: {
      float c = fminf(g, limit);
      return c * sigmoidOf(alpha * c) * (fminf(fmaxf(u, -limit), limit) + 1.0f);
    }
    case kGeglu: return g * normcdff(g) * u;
    case kGegluTanh: {  // (1 + tanh y) / 2 = sigmoid(2 y)
      float y = 0.7978845608028654f * (g + 0.044715f * g * g * g);
      return g * sigmoidOf(2.0f * y) * u;
    }
    default: {
      float r = fmaxf(u, 0.0f);
      return r * r;
    }
  }
}

}  // namespace weft
