// The stages of the backward pass that are matrix products over the slots of experts, as kernels of tiles
// (backward_tile.cuh) with an epilogue each. p counts the slots that local experts compute, in the order of the
// permutation; t(p) is the token of slot p, s(p) its routing weight.
//
//   project              z[p] = W13 x[t(p)] + b13, where forward did not save it; F32
//   slots                da[p] = s(p) W2^T dy[t(p)]; with z: dz = da f'(z), kept for the next three;
//                        s(p) f(z), kept for the gradient of W2; sum of f(z) da / s(p), which is the slot's part
//                        of its weight's gradient, by tile of columns, so that sums have one order
//   inputs               dx of slot p = W13^T dz[p]
//   down_gradient        dW2 of an expert = sum over its p of dy[t(p)] (s(p) f(z[p]))^T
//   projection_gradient  dW13 of an expert = sum over its p of dz[p] x[t(p)]^T
//
// dy and x are gathered by token as they are read; nothing is permuted in memory. What is kept between stages is in
// the storage type where tensor cores multiply it next, else F32. The weight of a slot is folded into f(z) rather
// than into dy, which stays exact: so each product sees one rounding. The first three stages work off a list of
// tiles that the device made (backward_rows.cu); the gradients have a block for each tile of each expert's weight,
// whose k are the expert's slots. An expert without slots gets zeros from the same code.
#pragma once
#include "backward_activation.cuh"
#include "backward_tile.cuh"
#include "experts.cuh"

namespace weft {
namespace moe_backward {

// [rows, columns] of each expert. Strides in elements.
struct Matrix {
  const void* base;
  i64 pitch, expert;
  int type, unused;

  __device__ __forceinline__ const char* at(i64 e, i64 row, i64 column) const {
    return static_cast<const char*>(base) + (e * expert + row * pitch + column) * bytesOf(type);
  }
};

__device__ __forceinline__ const char* rowOf(const WeightRows& w, i64 expert, i64 row, int bytes) {
  return static_cast<const char*>(w.base) + (expert * w.expert + row * w.row) * bytes;
}

// A first projection of each expert: rows below `gates` are gates, the others ups. A bias: rows of one element.
struct Projection {
  WeightRows gate, up;
  int type, gates;

  __device__ __forceinline__ const char* at(i64 e, int row) const {
    return row < gates ? rowOf(gate, e, row, bytesOf(type)) : rowOf(up, e, row - gates, bytesOf(type));
  }
  // Whether a row is there: a gradient may be asked for of one half only.
  __device__ __forceinline__ bool has(int row) const { return (row < gates ? gate.base : up.base) != nullptr; }

  __device__ __forceinline__ Rows rows(i64 e, int count) const {
    int bytes = bytesOf(type);
    const char* ups = rowOf(up, e, 0, bytes);
    return {gates ? rowOf(gate, e, 0, bytes) : ups, ups, gate.row * bytes, up.row * bytes, nullptr, gates, 0, count, type};
  }
};

// Which slots each expert has, made by backward_rows.cu. Whatever ids and permutation held, everything lies within
// [0, rows).
struct Slots {
  const int2* experts;    // [experts]: first slot and number of slots
  const int2* tiles;      // expert and first slot, within the expert, of each tile of rows
  const int* tileCount;
  const int* tokens;      // [rows]: the token of a slot, or -1
  const float* weights;   // [rows]
  i64 rows;               // T * topK
};

// How many of the tokens there are.
__device__ __forceinline__ i64 present(const int* tokenCount, i64 tokens) {
  return tokenCount ? min(max(static_cast<i64>(*tokenCount), 0LL), tokens) : tokens;
}

__device__ __forceinline__ Rows plainRows(const Matrix& m, i64 e, int first, int count) {
  const char* base = m.at(e, 0, 0);
  return {base, base, m.pitch * bytesOf(m.type), 0, nullptr, INT_MAX, first, count, m.type};
}

__device__ __forceinline__ Rows gatheredRows(const Matrix& m, const int* index, int first, int count) {
  Rows r = plainRows(m, 0, first, count);
  r.index = index;
  return r;
}

// A tile of the first three stages. Blocks that run together share rows of weights and of tokens: eight tiles of
// rows for each tile of columns.
struct RowTile {
  int expert, first, rows, column;
  int slot;  // of the tile's first row

  __device__ __forceinline__ bool find(const Slots& s, int columnTiles, int columns) {
    constexpr int kGroup = 8;
    i64 id = blockIdx.x, group = static_cast<i64>(kGroup) * columnTiles;
    int within = static_cast<int>(id % group);
    i64 tile = id / group * kGroup + within % kGroup;
    if (tile >= *s.tileCount) return false;
    int2 found = s.tiles[tile];
    int2 all = s.experts[found.x];
    expert = found.x;
    first = found.y;
    slot = all.x + found.y;
    rows = min(all.y - found.y, kTile);
    column = within / kGroup * columns;
    return true;
  }
};

// Calls body(row, column within the tile, four values) for each row of a finished tile, a warp's rows in ascending
// order. The lanes of a warp have 128 neighbouring columns.
template <class Product, class Body>
__device__ __forceinline__ void eachRow(const char* shared, int rows, Body body) {
  const float* tile = reinterpret_cast<const float*>(shared);
  int lane = threadIdx.x & 31;
  for (int r = threadIdx.x >> 5; r < rows; r += kThreads / 32) {
#pragma unroll
    for (int c = lane * 4; c < Product::kColumns; c += 128) {
      body(r, c, *reinterpret_cast<const float4*>(tile + r * kPitch<Product::kColumns> + c));
    }
  }
}

__device__ __forceinline__ float warpSum(float v) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}

// ---- project -------------------------------------------------------------------------------------------------

struct ProjectionArguments {
  Slots slots;
  Matrix x;
  Projection weight, bias;  // no bias: both bases null
  Matrix z;                 // F32
  int hidden, columns, columnTiles, unused;
};

template <template <bool, bool> class Tile>
__device__ __forceinline__ void project(const ProjectionArguments& a, char* shared) {
  using Product = Tile<true, true>;
  RowTile t;
  if (!t.find(a.slots, a.columnTiles, Product::kColumns)) return;
  Operand left = {gatheredRows(a.x, a.slots.tokens, t.slot, t.rows), 0, a.hidden};
  Operand right = {a.weight.rows(t.expert, a.columns), t.column, a.hidden};
  product<Product>(left, right, a.hidden, shared);
  eachRow<Product>(shared, t.rows, [&](int r, int c, float4 v) {
    int column = t.column + c, valid = a.columns - column;
    if (valid <= 0) return;
    if (a.bias.up.base) {
      int type = a.bias.type;
      v.x += loadElement(a.bias.at(t.expert, column), type);
      if (valid > 1) v.y += loadElement(a.bias.at(t.expert, column + 1), type);
      if (valid > 2) v.z += loadElement(a.bias.at(t.expert, column + 2), type);
      if (valid > 3) v.w += loadElement(a.bias.at(t.expert, column + 3), type);
    }
    store4(const_cast<char*>(a.z.at(0, t.slot + r, column)), kF32, v, valid);
  });
}

// ---- what F16 loses ------------------------------------------------------------------------------------------

// Rounding to F16 loses up to 2^-25 of what is smaller than 2^-14, however small: more than it would have lost of
// f(z) itself, where a slot's weight is far below 1. That part is kept too, scaled, and multiplied by itself.
constexpr float kLowScale = 4096;

__device__ __forceinline__ float lowPart(float v) {
  return fabsf(v) < 0x1p-14f ? (v - widenF16(narrowF16(v))) * kLowScale : 0;
}

// ---- slots ---------------------------------------------------------------------------------------------------

struct SlotArguments {
  Slots slots;
  Matrix dy, down, z;
  Matrix dz, activation, low;  // written where their base is not null
  float* weightSums;      // [sumTiles, rows]: a sum for every 128 columns; or null
  const int* zRows;       // [rows]: where z has a slot's row; null: in the slot's place
  ActivationArguments function;
  int hidden, width, gated, columnTiles, sumTiles, unused;
};

template <template <bool, bool> class Tile>
__device__ __forceinline__ void slotGradients(const SlotArguments& a, char* shared) {
  using Product = Tile<true, false>;
  RowTile t;
  if (!t.find(a.slots, a.columnTiles, Product::kColumns)) return;
  Operand left = {gatheredRows(a.dy, a.slots.tokens, t.slot, t.rows), 0, a.hidden};
  Operand right = {plainRows(a.down, t.expert, 0, a.hidden), t.column, a.width};
  product<Product>(left, right, a.hidden, shared);
  eachRow<Product>(shared, t.rows, [&](int r, int c, float4 v) {
    i64 p = t.slot + r;
    int column = t.column + c, valid = a.width - column;
    float weight = a.slots.weights[p];
    float4 up = make_float4(0, 0, 0, 0), gate = up;
    if (valid > 0) {
      i64 row = a.zRows ? a.zRows[p] : p;
      if (a.gated) gate = load4(a.z.at(0, row, column), a.z.type, valid);
      up = load4(a.z.at(0, row, column + (a.gated ? a.width : 0)), a.z.type, valid);
    }
    ActivationValue f[4] = {activation(a.function, gate.x, up.x), activation(a.function, gate.y, up.y),
                            activation(a.function, gate.z, up.z), activation(a.function, gate.w, up.w)};
    if (a.weightSums) {  // columns beyond the width hold 0 on both sides
      float sum = f[0].value * v.x + f[1].value * v.y + f[2].value * v.z + f[3].value * v.w;
      sum = warpSum(valid > 0 ? sum : 0);
      if (c % 128 == 0 && (t.column + c) / 128 < a.sumTiles) {
        a.weightSums[(t.column + c) / 128 * a.slots.rows + p] = sum;
      }
    }
    if (valid <= 0) return;
    float4 da = make_float4(weight * v.x, weight * v.y, weight * v.z, weight * v.w);
    if (a.dz.base) {
      int type = a.dz.type;
      if (a.gated) {
        store4(const_cast<char*>(a.dz.at(0, p, column)), type,
               make_float4(da.x * f[0].byGate, da.y * f[1].byGate, da.z * f[2].byGate, da.w * f[3].byGate), valid);
      }
      store4(const_cast<char*>(a.dz.at(0, p, column + (a.gated ? a.width : 0))), type,
             make_float4(da.x * f[0].byUp, da.y * f[1].byUp, da.z * f[2].byUp, da.w * f[3].byUp), valid);
    }
    if (a.activation.base) {
      float4 w = make_float4(weight * f[0].value, weight * f[1].value, weight * f[2].value, weight * f[3].value);
      store4(const_cast<char*>(a.activation.at(0, p, column)), a.activation.type, w, valid);
      if (Product::kLowParts && a.low.base) {
        store4(const_cast<char*>(a.low.at(0, p, column)), kF16,
               make_float4(lowPart(w.x), lowPart(w.y), lowPart(w.z), lowPart(w.w)), valid);
      }
    }
  });
}

// ---- inputs --------------------------------------------------------------------------------------------------

struct InputArguments {
  Slots slots;
  Matrix dz;
  Projection weight;
  Matrix dx;  // a row for each slot
  int hidden, columns, columnTiles, unused;
};

template <template <bool, bool> class Tile>
__device__ __forceinline__ void inputGradients(const InputArguments& a, char* shared) {
  using Product = Tile<true, false>;
  RowTile t;
  if (!t.find(a.slots, a.columnTiles, Product::kColumns)) return;
  Operand left = {plainRows(a.dz, 0, t.slot, t.rows), 0, a.columns};
  Operand right = {a.weight.rows(t.expert, a.columns), t.column, a.hidden};
  product<Product>(left, right, a.columns, shared);
  eachRow<Product>(shared, t.rows, [&](int r, int c, float4 v) {
    int valid = a.hidden - t.column - c;
    if (valid > 0) store4(const_cast<char*>(a.dx.at(0, t.slot + r, t.column + c)), a.dx.type, v, valid);
  });
}

// ---- gradients of weights ------------------------------------------------------------------------------------

// A tile of an expert's gradient [m, n]; neighbouring blocks share columns, eight tiles of rows each.
struct WeightTile {
  int expert, row, column;
  int first, count;  // the expert's slots

  __device__ __forceinline__ void find(const Slots& s, int rowTiles, int columnTiles, int columns) {
    constexpr int kGroup = 8;
    int all = rowTiles * columnTiles;
    expert = static_cast<int>(blockIdx.x / all);
    int id = static_cast<int>(blockIdx.x % all);
    int group = id / (kGroup * columnTiles) * kGroup;
    int high = min(rowTiles - group, kGroup);
    int within = id % (kGroup * columnTiles);
    row = (group + within % high) * kTile;
    column = within / high * columns;
    int2 slots = s.experts[expert];
    first = slots.x;
    count = slots.y;
  }
};

__device__ __forceinline__ void storeGradient(char* at, int type, float4 v, int valid, int accumulate) {
  if (accumulate) {
    float4 old = load4(at, type, valid);
    v.x += old.x;
    v.y += old.y;
    v.z += old.z;
    v.w += old.w;
  }
  store4(at, type, v, valid);
}

struct DownGradientArguments {
  Slots slots;
  Matrix dy, activation, low;
  Matrix out;
  int hidden, width, rowTiles, columnTiles, accumulate, unused;
};

template <template <bool, bool> class Tile>
__device__ __forceinline__ void downGradient(const DownGradientArguments& a, char* shared) {
  using Product = Tile<false, false>;
  WeightTile t;
  t.find(a.slots, a.rowTiles, a.columnTiles, Product::kColumns);
  Operand left = {gatheredRows(a.dy, a.slots.tokens, t.first, t.count), t.row, a.hidden};
  typename Product::Sums sums = {};
#pragma unroll 1
  for (int pass = Product::kLowParts && a.low.base ? 0 : 1; pass < 2; pass++) {
    Operand right = {plainRows(pass == 0 ? a.low : a.activation, 0, t.first, t.count), t.column, a.width};
    Product::add(sums, left, right, t.count, shared);
    if (pass == 0) sums.scale(1 / kLowScale);
  }
  Product::finish(sums, shared);
  eachRow<Product>(shared, min(a.hidden - t.row, kTile), [&](int r, int c, float4 v) {
    int valid = a.width - t.column - c;
    if (valid > 0) {
      storeGradient(const_cast<char*>(a.out.at(t.expert, t.row + r, t.column + c)), a.out.type, v, valid, a.accumulate);
    }
  });
}

struct ProjectionGradientArguments {
  Slots slots;
  Matrix dz, x;
  Projection out;  // a half whose base is null is not written
  int columns, hidden, rowTiles, columnTiles, accumulate, unused;
};

template <template <bool, bool> class Tile>
__device__ __forceinline__ void projectionGradient(const ProjectionGradientArguments& a, char* shared) {
  using Product = Tile<false, false>;
  WeightTile t;
  t.find(a.slots, a.rowTiles, a.columnTiles, Product::kColumns);
  Operand left = {plainRows(a.dz, 0, t.first, t.count), t.row, a.columns};
  Operand right = {gatheredRows(a.x, a.slots.tokens, t.first, t.count), t.column, a.hidden};
  product<Product>(left, right, t.count, shared);
  eachRow<Product>(shared, min(a.columns - t.row, kTile), [&](int r, int c, float4 v) {
    int row = t.row + r, valid = a.hidden - t.column - c;
    if (valid > 0 && a.out.has(row)) {
      i64 offset = static_cast<i64>(t.column + c) * bytesOf(a.out.type);
      storeGradient(const_cast<char*>(a.out.at(t.expert, row)) + offset, a.out.type, v, valid, a.accumulate);
    }
  });
}

}  // namespace moe_backward
}  // namespace weft

// The five kernels for one kind of tile, of which a multiprocessor holds BLOCKS. MoeBackwardPass.java fills their arguments.
#define MOE_BACKWARD_KERNELS(NAME, TILE, BLOCKS)                                                                  \
  extern "C" __global__ void __launch_bounds__(kThreads, BLOCKS)                                                       \
      moe_backward_project_##NAME(const __grid_constant__ ProjectionArguments a) {                                   \
    extern __shared__ __align__(128) char shared[];                                                               \
    project<TILE>(a, shared);                                                                                     \
  }                                                                                                               \
  extern "C" __global__ void __launch_bounds__(kThreads, BLOCKS)                                                       \
      moe_backward_slots_##NAME(const __grid_constant__ SlotArguments a) {                                        \
    extern __shared__ __align__(128) char shared[];                                                               \
    slotGradients<TILE>(a, shared);                                                                               \
  }                                                                                                               \
  extern "C" __global__ void __launch_bounds__(kThreads, BLOCKS)                                                       \
      moe_backward_inputs_##NAME(const __grid_constant__ InputArguments a) {                                      \
    extern __shared__ __align__(128) char shared[];                                                               \
    inputGradients<TILE>(a, shared);                                                                              \
  }                                                                                                               \
  extern "C" __global__ void __launch_bounds__(kThreads, BLOCKS)                                                       \
      moe_backward_down_gradient_##NAME(const __grid_constant__ DownGradientArguments a) {                        \
    extern __shared__ __align__(128) char shared[];                                                               \
    downGradient<TILE>(a, shared);                                                                                \
  }                                                                                                               \
  extern "C" __global__ void __launch_bounds__(kThreads, BLOCKS)                                                       \
      moe_backward_projection_gradient_##NAME(const __grid_constant__ ProjectionGradientArguments a) {            \
    extern __shared__ __align__(128) char shared[];                                                               \
    projectionGradient<TILE>(a, shared);                                                                          \
  }
