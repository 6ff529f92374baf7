// Weights go straight from memory to registers and from there, without shared memory or barriers on the way, into the
// elements of cooperative matrices, as the left operand; up to 16 rows that they multiply are the right one, read through
// the caches.
//
// Which elements a work-item holds Vulkan does not say. These kernels count on what matrix/layout.comp finds on a device
// when it is opened, and the host asks for them only there: elements 0..3 of use A are k 2 (l % 4), + 1, + 8, + 9 of row
// l / 4, elements 4..7 the same of row l / 4 + 8; use B is alike with columns for rows; sums 0..3 are columns
// 2 (l % 4), + 1, + 8, + 9 of row l / 4, sums 4..7 of row l / 4 + 8. Which k these are does not matter as long as both
// operands agree; so work-item l reads the eight neighbours k = 8 (l % 4) .. of its row, 16 bytes, and they make two
// products: 32 k of 16 rows.
//
// Rows start at multiples of 16 bytes, and their length is a multiple of 8. A kernel defines FEW_UNROLL, the blocks of 32 k
// that a wave asks for at once, before it includes this.
#ifndef WEFT_MOE_FEW_UNITS
#define WEFT_MOE_FEW_UNITS

#include "../common/unit_types.glsl"

#if TYPE == 1
#define FEW_PAIR(word) unpackFloat2x16(word)
#else
#define FEW_PAIR(word) uintBitsToBFloat16EXT(unpack16(word))
#endif

#define FEW_DEPTH 32 /* the k of a block */
#define FEW_SPAN (FEW_DEPTH * FEW_UNROLL)
#define FEW_COLUMNS 16 /* rows of weights of a wave */
#define FEW_WAVE (local_item() / 32)
#define FEW_LANE (local_item() % 32)

// Eight neighbours of a row, from k on.
uvec4 few_read(uint64_t row, int k) { return Words4(row + uint64_t(uint(k)) * 2ul).v; }

// sums += the product of a block: what the work-item has of rows l / 4 and l / 4 + 8 of each operand.
#define FEW_MULTIPLY(sums, low, high, first, second)                         \
  [[unroll]] for (int part_ = 0; part_ < 4; part_ += 2) {                    \
    UNIT_A left_;                                                            \
    UNIT_B right_;                                                           \
    [[unroll]] for (int e_ = 0; e_ < 2; e_++) {                              \
      left_[e_] = FEW_PAIR((low)[part_])[e_];                                \
      left_[2 + e_] = FEW_PAIR((low)[part_ + 1])[e_];                        \
      left_[4 + e_] = FEW_PAIR((high)[part_])[e_];                           \
      left_[6 + e_] = FEW_PAIR((high)[part_ + 1])[e_];                       \
      right_[e_] = FEW_PAIR((first)[part_])[e_];                             \
      right_[2 + e_] = FEW_PAIR((first)[part_ + 1])[e_];                     \
      right_[4 + e_] = FEW_PAIR((second)[part_])[e_];                        \
      right_[6 + e_] = FEW_PAIR((second)[part_ + 1])[e_];                    \
    }                                                                        \
    sums = coopMatMulAdd(left_, right_, sums);                               \
  }

// Adds FEW_SPAN of the k from `from` on, from + step on, ... below depth. `low` and `high` are the work-item's rows of
// weights, `first` and `second` those that they multiply, the latter only where `both`. Weights are asked for first,
// since where the others lie may not have arrived yet. Loads stand behind their conditions, block by block: whole blocks by
// themselves, and loops of their own for `both`, were slower on an H200.
#define FEW_STREAM(sums, low, high, first, second, both, from, step, depth)                    \
  for (int k_ = (from); k_ < (depth); k_ += (step)) {                                          \
    uvec4 l_[FEW_UNROLL], h_[FEW_UNROLL], x_[FEW_UNROLL], y_[FEW_UNROLL];                      \
    [[unroll]] for (int i_ = 0; i_ < FEW_UNROLL; i_++) {                                       \
      const int own_ = k_ + i_ * FEW_DEPTH + FEW_LANE % 4 * 8;                                 \
      l_[i_] = uvec4(0u);                                                                      \
      h_[i_] = uvec4(0u);                                                                      \
      if (own_ < (depth)) {                                                                    \
        l_[i_] = few_read(low, own_);                                                          \
        h_[i_] = few_read(high, own_);                                                         \
      }                                                                                        \
    }                                                                                          \
    [[unroll]] for (int i_ = 0; i_ < FEW_UNROLL; i_++) {                                       \
      const int own_ = k_ + i_ * FEW_DEPTH + FEW_LANE % 4 * 8;                                 \
      x_[i_] = uvec4(0u);                                                                      \
      y_[i_] = uvec4(0u);                                                                      \
      if (own_ < (depth)) {                                                                    \
        x_[i_] = few_read(first, own_);                                                        \
        if (both) y_[i_] = few_read(second, own_);                                             \
      }                                                                                        \
    }                                                                                          \
    [[unroll]] for (int i_ = 0; i_ < FEW_UNROLL; i_++) {                                       \
      FEW_MULTIPLY(sums, l_[i_], h_[i_], x_[i_], y_[i_])                                       \
    }                                                                                          \
  }

#endif
