// The experts on any device, of any types, layouts and alignment (experts.cuh says what they are given).
//
// A block computes one tile of one expert. Blocks walk an expert's row tiles first, then its column tiles, then the
// next expert: the weights of a column tile are read from memory once, and the rows of one expert stay in the L2.
// The grid is made for the most tiles that the routing could give; blocks beyond the list end at once.
//
// project: column c of a tile of the first projection is gate row i or up row i, i = c / 2G * G + c % G, gate where
// c / G is even, so that one thread holds the gate and the up value of one column of the activation. G is 8, a
// fragment's width, on the matrix units, and 2 for F32 FMA. Without a gate, column c is row c.
//
// Tiles (rows x columns, warps, stages of 64 elements of K): m16 16 x 64, 4 warps, 6; m64 64 x 128, 4, 4;
// m128 128 x 128, 8, 3: at most 96 KiB, so that two blocks run on a multiprocessor of 9.0 and one on 8.6.
#include "../common/overlap.cuh"
#include "experts.cuh"
#include "gemm.cuh"

namespace weft {
namespace {

// Where a block works: its tile's expert and rows, and its column tile.
struct Place {
  int expert;
  int row;  // first sorted row
  int end;  // of the expert's rows
  int columnTile;
};

template <class Arguments>
__device__ __forceinline__ Place placeOf(const Arguments& a, int rows) {
  wait_for_predecessor();
  const int columnTiles = gridDim.x / a.mostTiles;
  Tile t = tileAt(a, blockIdx.x / columnTiles, rows);
  if (t.expert < 0) return Place{-1, 0, 0, 0};
  const int tiles = (t.end - t.begin + rows - 1) / rows;
  const int local = blockIdx.x - t.first * columnTiles;
  return Place{t.expert, t.begin + local % tiles * rows, t.end, local / tiles};
}

__device__ __forceinline__ const void* at(const void* base, i64 element, int type) {
  return static_cast<const char*>(base) + element * (type == kF32 ? 4 : 2);
}
__device__ __forceinline__ float valueAt(const void* base, i64 element, int type) {
  Row<Any, 1> r;
  r.load<false>(base, element, type);
  return Any::widen(r.w[0], type);
}
__device__ __forceinline__ void putValue(void* base, i64 element, int type, float v) {
  Row<Any, 1> r;
  r.w[0] = Any::narrow(v, type);
  r.store(base, element, type);
}
__device__ __forceinline__ float biasAt(const WeightRows& bias, int expert, int i, int type) {
  return bias.base == nullptr ? 0.0f : valueAt(bias.base, expert * bias.expert + i * bias.row, type);
}

__device__ __forceinline__ const void* tokenRow(const ProjectArguments& a, int sorted) {
  int token = a.permutation == nullptr ? sorted : a.permutation[sorted] / a.topK;
  return at(a.x, token * a.xPitch, a.xType);
}

// What column c of the first projection is, G columns of gate and of up by turns.
template <int G>
__device__ __forceinline__ const void* projectionRow(const ProjectArguments& a, int expert, int c) {
  const bool gated = a.gate.base != nullptr;
  const int i = gated ? c / (2 * G) * G + c % G : c;
  if (i >= a.width) return nullptr;
  const WeightRows& w = gated && c / G % 2 == 0 ? a.gate : a.up;
  return at(w.base, expert * w.expert + i * w.row, a.weightType);
}

// One value of the activation; g and u are the products, without biases. This is for every activation, bias and z, and a
// function of its own: inlined for each of a thread's 64 values, in each kernel, it would be most of what there is to
// compile.
__device__ __noinline__ float finishAny(const ProjectArguments& a, int expert, i64 zRow, int i, float g, float u) {
  if (i >= a.width) return 0.0f;
  u += biasAt(a.upBias, expert, i, a.weightType);
  if (a.gate.base != nullptr) g += biasAt(a.gateBias, expert, i, a.weightType);
  if (a.z != nullptr) {
    i64 z = zRow * a.zPitch + i;
    if (a.gate.base != nullptr) {
      putValue(a.z, z, a.xType, g);
      z += a.width;
    }
    putValue(a.z, z, a.xType, u);
  }
  return activate(a.activation, a.alpha, a.limit, g, u);
}

// The usual one.
__device__ __forceinline__ float finish(const ProjectArguments& a, int expert, i64 zRow, int i, float g, float u) {
  if (a.activation == kSwiglu && a.upBias.base == nullptr && a.z == nullptr) {
    return i < a.width ? g * sigmoidOf(g) * u : 0.0f;
  }
  return finishAny(a, expert, zRow, i, g, u);
}

__device__ __forceinline__ i64 zRowOf(const ProjectArguments& a, int sorted) {
  return a.zRows == nullptr ? sorted : a.zRows[a.permutation[sorted]];
}

template <class E, class T>
__device__ __forceinline__ void projectTile(const ProjectArguments& a) {
  extern __shared__ __align__(1024) char shared[];
  const Place p = placeOf(a, T::kRows);
  if (p.expert < 0) return;
  const int first = p.columnTile * T::kColumns;
  T tile;
  tile.run(
      shared, [&](int r) { return p.row + r < p.end ? tokenRow(a, p.row + r) : nullptr; },
      [&](int c) { return projectionRow<8>(a, p.expert, first + c); }, a.hidden, a.aligned, a.aligned, a.x);
  const bool gated = a.gate.base != nullptr;
#pragma unroll
  for (int m = 0; m < T::kM; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int sorted = p.row + T::row(m, 2 * half);
      if (sorted >= p.end) continue;
      const i64 zRow = a.z == nullptr ? 0 : zRowOf(a, sorted);
      char* act = static_cast<char*>(a.act) + sorted * a.actPitch * 2;
      auto put = [&](int i, float g0, float u0, float g1, float u1) {  // columns i, i + 1; the pitch has room for both
        if (i >= a.width) return;
        float v0 = finish(a, p.expert, zRow, i, g0, u0);
        float v1 = finish(a, p.expert, zRow, i + 1, g1, u1);
        *reinterpret_cast<uint32_t*>(act + i64{i} * 2) = E::narrowPair(v0, v1);
      };
#pragma unroll
      for (int n = 0; n < T::kN; n += 2) {
        const float* s = tile.sum[m][n] + 2 * half;
        const float* t = tile.sum[m][n + 1] + 2 * half;
        const int c = first + T::column(n, 0);
        if (gated) {
          put(c / 16 * 8 + c % 8, s[0], t[0], s[1], t[1]);
        } else {
          put(c, 0.0f, s[0], 0.0f, s[1]);
          put(c + 8, 0.0f, t[0], 0.0f, t[1]);
        }
      }
    }
  }
}

__device__ __forceinline__ i64 outRow(const DownArguments& a, int sorted) {
  return a.permutation == nullptr ? sorted : a.permutation[sorted];
}

template <class E, class T>
__device__ __forceinline__ void downTile(const DownArguments& a) {
  extern __shared__ __align__(1024) char shared[];
  const Place p = placeOf(a, T::kRows);
  if (p.expert < 0) return;
  const int first = p.columnTile * T::kColumns;
  T tile;
  tile.run(
      shared, [&](int r) { return p.row + r < p.end ? at(a.act, (p.row + r) * a.actPitch, a.xType) : nullptr; },
      [&](int c) {
        return first + c < a.hidden ? at(a.down.base, p.expert * a.down.expert + (first + c) * a.down.row, a.weightType) : nullptr;
      },
      a.width, true, a.aligned, a.act);
#pragma unroll
  for (int m = 0; m < T::kM; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int sorted = p.row + T::row(m, 2 * half);
      if (sorted >= p.end) continue;
      char* out = static_cast<char*>(a.out) + outRow(a, sorted) * a.outPitch * 2;
#pragma unroll
      for (int n = 0; n < T::kN; n++) {
        const int c = first + T::column(n, 0);
        if (c >= a.hidden) continue;
        float v0 = tile.sum[m][n][2 * half] + biasAt(a.downBias, p.expert, c, a.weightType);
        float v1 = c + 1 < a.hidden ? tile.sum[m][n][2 * half + 1] + biasAt(a.downBias, p.expert, c + 1, a.weightType) : 0.0f;
        *reinterpret_cast<uint32_t*>(out + i64{c} * 2) = E::narrowPair(v0, v1);
      }
    }
  }
}

__device__ __forceinline__ void projectAny(const ProjectArguments& a) {
  __shared__ FmaTile::Shared shared;
  const Place p = placeOf(a, FmaTile::kRows);
  if (p.expert < 0) return;
  const int first = p.columnTile * FmaTile::kColumns;
  FmaTile tile;
  tile.run(
      shared, [&](int r) { return p.row + r < p.end ? tokenRow(a, p.row + r) : nullptr; },
      [&](int c) { return projectionRow<2>(a, p.expert, first + c); }, a.hidden, a.xType, a.weightType, a.aligned, a.aligned);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int sorted = p.row + FmaTile::row(i);
    if (sorted >= p.end) continue;
    const i64 zRow = a.z == nullptr ? 0 : zRowOf(a, sorted);
    auto put = [&](int column, float g, float u) {
      if (column < a.width) putValue(a.act, sorted * a.actPitch + column, a.xType, finish(a, p.expert, zRow, column, g, u));
    };
    const float* s = tile.sum[i];
    const int c = first + FmaTile::column(0);
    if (a.gate.base != nullptr) {
      put(c / 2, s[0], s[2]);
      put(c / 2 + 1, s[1], s[3]);
    } else {
#pragma unroll
      for (int j = 0; j < 4; j++) put(c + j, 0.0f, s[j]);
    }
  }
}

__device__ __forceinline__ void downAny(const DownArguments& a) {
  __shared__ FmaTile::Shared shared;
  const Place p = placeOf(a, FmaTile::kRows);
  if (p.expert < 0) return;
  const int first = p.columnTile * FmaTile::kColumns;
  FmaTile tile;
  tile.run(
      shared, [&](int r) { return p.row + r < p.end ? at(a.act, (p.row + r) * a.actPitch, a.xType) : nullptr; },
      [&](int c) {
        return first + c < a.hidden ? at(a.down.base, p.expert * a.down.expert + (first + c) * a.down.row, a.weightType) : nullptr;
      },
      a.width, a.xType, a.weightType, true, a.aligned);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int sorted = p.row + FmaTile::row(i);
    if (sorted >= p.end) continue;
    const i64 out = outRow(a, sorted) * a.outPitch;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int c = first + FmaTile::column(j);
      if (c < a.hidden) putValue(a.out, out + c, a.xType, tile.sum[i][j] + biasAt(a.downBias, p.expert, c, a.weightType));
    }
  }
}

}  // namespace

#define EXPERTS(TEXT, ELEMENT, ROWS, COLUMNS, WARPS_M, WARPS_N, STAGES, BLOCKS)                                                 \
  using Tile_##TEXT = MmaTile<ELEMENT, ROWS, COLUMNS, WARPS_M, WARPS_N, STAGES>;                                                \
  extern "C" __global__ void __launch_bounds__(WARPS_M * WARPS_N * 32, BLOCKS) moe_project_##TEXT(__grid_constant__ const ProjectArguments a) { \
    projectTile<ELEMENT, Tile_##TEXT>(a);                                                                                       \
  }                                                                                                                             \
  extern "C" __global__ void __launch_bounds__(WARPS_M * WARPS_N * 32, BLOCKS) moe_down_##TEXT(__grid_constant__ const DownArguments a) {       \
    downTile<ELEMENT, Tile_##TEXT>(a);                                                                                          \
  }

EXPERTS(bf16_m16, Bf16, 16, 64, 1, 4, 6, 3)
EXPERTS(bf16_m64, Bf16, 64, 128, 2, 2, 4, 2)
EXPERTS(bf16_m128, Bf16, 128, 128, 2, 4, 3, 2)
EXPERTS(f16_m16, F16, 16, 64, 1, 4, 6, 3)
EXPERTS(f16_m64, F16, 64, 128, 2, 2, 4, 2)
EXPERTS(f16_m128, F16, 128, 128, 2, 4, 3, 2)

extern "C" __global__ void __launch_bounds__(FmaTile::kThreads, 2) moe_project_any(__grid_constant__ const ProjectArguments a) { projectAny(a); }
extern "C" __global__ void __launch_bounds__(FmaTile::kThreads, 2) moe_down_any(__grid_constant__ const DownArguments a) { downAny(a); }

}  // namespace weft
