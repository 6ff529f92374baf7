// Tile shapes of attention, and its entry points. MobaTiles.java has the same table.
//
//   type     W    rows                 keys: listed, own   shared memory: listed, own (KiB)
//   16 bit   64   128: 4 warps of 32   64, 64              49.6, 49.6
//   16 bit   128  128: 4 warps of 32   64, 32              97.6, 67.6
//   16 bit   256  64: 4 warps of 16    32, 32              96.8, 96.8
//   F32      64   64: 4 warps of 16    32, 32              51.8, 51.8
//   F32      128  64: 4 warps of 16    16, 16              66.8, 66.8
//   F32      256  64: 4 warps of 16    8, 8                98.3, 98.3
// All fit the 99 KiB that a thread block may have on compute capability 8.6 and 8.9. With rows of 128 columns two
// thread blocks of 255 registers a thread fill a multiprocessor; Own keeps more beside its sums than Listed, and
// spills with 64 keys.
#pragma once
#include "attend.cuh"

using namespace weft;
using namespace weft::moba;

template <class E, int DP>
struct TileShape {
  static constexpr bool kWide = E::kBytes == 2 && DP <= 128;
  static constexpr int kRowTiles = kWide ? 2 : 1;
  static constexpr int kListedKeys = kWide ? 64 : E::kBytes == 2 ? 32 : 2048 / DP;
  static constexpr int kOwnKeys = kWide && DP == 128 ? 32 : kListedKeys;
};

#define MOBA_ATTEND_ENTRY(KERNEL, CLASS, KEYS, NAME, E, W)                                                    \
  extern "C" __global__ void __launch_bounds__(128, E::kBytes == 2 && W <= 128 ? 2 : 1)                   \
      moba_##KERNEL##_##NAME##_d##W(const __grid_constant__ ForwardArguments a) {                          \
    extern __shared__ __align__(128) char shared[];                                                       \
    CLASS<E, W, 4, TileShape<E, W>::kRowTiles, TileShape<E, W>::KEYS> kernel{a, shared};                  \
    kernel.run();                                                                                         \
  }
#define MOBA_ATTEND_WIDTH(NAME, E, W)       \
  MOBA_ATTEND_ENTRY(listed, Listed, kListedKeys, NAME, E, W) \
  MOBA_ATTEND_ENTRY(own, Own, kOwnKeys, NAME, E, W)
#define MOBA_ATTEND(NAME, E)      \
  MOBA_ATTEND_WIDTH(NAME, E, 64)  \
  MOBA_ATTEND_WIDTH(NAME, E, 128) \
  MOBA_ATTEND_WIDTH(NAME, E, 256)
