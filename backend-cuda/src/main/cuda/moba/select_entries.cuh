// Tile shapes of selection, and its entry points. MobaTiles.java has the same table.
#pragma once
#include "select.cuh"
#include "select_few.cuh"

using namespace weft;
using namespace weft::moba;

// Means of a tile.
template <class E, int DP>
constexpr int kMeans = E::kBytes == 4 ? 2048 / DP : DP == 256 ? 32 : 64;

#define MOBA_SELECT_ENTRY(NAME, E, W, K, SUFFIX)                                                        \
  extern "C" __global__ void __launch_bounds__(128)                                                     \
      moba_select_##NAME##_d##W##_k##SUFFIX(const __grid_constant__ ForwardArguments a) {                \
    extern __shared__ __align__(128) char shared[];                                                     \
    Select<E, W, kMeans<E, W>, K> kernel{a, shared};                                                    \
    kernel.run();                                                                                       \
  }
#define MOBA_SELECT_FEW_ENTRY(NAME, E, W)                                                               \
  extern "C" __global__ void __launch_bounds__(128, 3)                                                  \
      moba_select_##NAME##_d##W##_k8(const __grid_constant__ ForwardArguments a) {                       \
    extern __shared__ __align__(128) char shared[];                                                     \
    SelectFew<E, W, kMeans<E, W>> kernel{a, shared};                                                    \
    kernel.run();                                                                                       \
  }
#define MOBA_SELECT_WIDTH(NAME, E, W)      \
  MOBA_SELECT_FEW_ENTRY(NAME, E, W)        \
  MOBA_SELECT_ENTRY(NAME, E, W, 32, 32)    \
  MOBA_SELECT_ENTRY(NAME, E, W, 0, any)
#define MOBA_SELECT(NAME, E)       \
  MOBA_SELECT_WIDTH(NAME, E, 64)   \
  MOBA_SELECT_WIDTH(NAME, E, 128)  \
  MOBA_SELECT_WIDTH(NAME, E, 256)
