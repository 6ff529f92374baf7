// Cooperative matrices 16 x 16 x 16 with float sums. Where a matrix's elements lie in the work-items of a subgroup is not
// said, but all matrices of a type have them alike: so START_TILES loads a matrix of numbers, and each work-item sees which
// it holds. The tiles want BLOCK_SUMS sums a work-item, in pairs of neighbouring columns; that it is so on a device is
// proved there before any kernel uses this (matrix/check.comp).
#ifndef WEFT_UNITS
#define WEFT_UNITS
#include "unit_types.glsl"

#if TYPE == TYPE_BF16
// By its bits, since the conversion may cut off (one of NVIDIA's drivers was seen to): to nearest, a tie away from zero.
// The sum would carry NaN of all ones, which NVIDIA's arithmetic makes, into the sign.
#define TO_UNIT(v) uintBitsToBFloat16EXT(uint16_t((uint(min(int(floatBitsToUint(v)), 0x7fff7fff)) + 0x8000u) >> 16))
// The same of what need not stay NaN.
#define TO_UNIT_WEIGHT(v) uintBitsToBFloat16EXT(uint16_t((floatBitsToUint(v) + 0x8000u) >> 16))
#else
#define TO_UNIT(v) float16_t(v)
#define TO_UNIT_WEIGHT(v) float16_t(v)
#endif
#define BLOCK_SUMS (256 / WAVE)

// Of sum e of a block, in this work-item: 16 rows + column.
int place_of_sum[BLOCK_SUMS];

#define START_TILES()                                                                                           \
  do {                                                                                                          \
    for (int i_ = int(gl_LocalInvocationID.x); i_ < 256; i_ += int(gl_WorkGroupSize.x)) put_float(i_, float(i_)); \
    barrier();                                                                                                  \
    UNIT_SUMS numbers_;                                                                                         \
    coopMatLoad(numbers_, tile_memory, 0, 4, BY_ROWS);                                                          \
    [[unroll]] for (int e_ = 0; e_ < BLOCK_SUMS; e_++) place_of_sum[e_] = int(numbers_[e_]);                    \
    barrier();                                                                                                  \
  } while (false)

#endif
