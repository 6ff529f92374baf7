// Values rounded as TO_UNIT has it (units.glsl), two at a time: neighbours share a register of a matrix. Included after
// matrix.glsl.
#ifndef WEFT_MOBA_PAIRS
#define WEFT_MOBA_PAIRS

#if TYPE == TYPE_BF16
#define UNIT_PAIR bf16vec2
UNIT_PAIR upper_halves(uvec2 bits) {
  return uintBitsToBFloat16EXT(unpackUint2x16(bits.x >> 16 | (bits.y & 0xffff0000u)));
}
UNIT_PAIR to_units(vec2 v) { return upper_halves(uvec2(min(floatBitsToInt(v), ivec2(0x7fff7fff))) + 0x8000u); }
// The same of what need not stay NaN.
UNIT_PAIR to_unit_weights(vec2 v) { return upper_halves(floatBitsToUint(v) + 0x8000u); }
#else
#define UNIT_PAIR f16vec2
UNIT_PAIR to_units(vec2 v) { return f16vec2(v); }
UNIT_PAIR to_unit_weights(vec2 v) { return f16vec2(v); }
#endif

// Elements e and e + 1 of a matrix.
#define PUT_PAIR(block, e, pair) \
  {                              \
    const UNIT_PAIR pair_ = pair; \
    block[e] = pair_.x;          \
    block[(e) + 1] = pair_.y;    \
  }

#endif
