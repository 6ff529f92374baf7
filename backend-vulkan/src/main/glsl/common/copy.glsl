// Copies from device memory to the pool in chunks of 16 bytes (CHUNK elements of the program's type). Included after
// matrix.glsl.
#ifndef WEFT_COPY
#define WEFT_COPY

// The first `count` (0 to CHUNK) elements of an address, zeros in what is left of the chunk; nothing is read beyond count.
// `aligned` says whether the address is a multiple of 16 bytes, which is best the same for the whole launch.
uvec4 read_chunk(uint64_t from, int count, bool aligned) {
  uvec4 bits = uvec4(0u);
  if (aligned && count >= CHUNK) {
    bits = Words4(from).v;
  } else {
    [[unroll]] for (int i = 0; i < CHUNK; i++) {
#if TYPE == TYPE_F32
      if (i < count) bits[i] = load_bits(from, i, TYPE);
#else
      if (i < count) bits[i / 2] |= load_bits(from, i, TYPE) << (i % 2 * 16);
#endif
    }
  }
  return bits;
}

// The same to a place in the pool, a multiple of CHUNK.
void copy_chunk(int to, uint64_t from, int count, bool aligned) { put_chunk(to, read_chunk(from, count, aligned)); }

// The first `count` elements of a chunk to an address.
void write_chunk(uint64_t to, uvec4 bits, int count, bool aligned) {
  if (aligned && count >= CHUNK) {
    Words4(to).v = bits;
  } else {
    [[unroll]] for (int i = 0; i < CHUNK; i++) {
#if TYPE == TYPE_F32
      if (i < count) store_bits(to, i, bits[i], TYPE);
#else
      if (i < count) store_bits(to, i, (bits[i / 2] >> (i % 2 * 16)) & 0xffffu, TYPE);
#endif
    }
  }
}

#endif
