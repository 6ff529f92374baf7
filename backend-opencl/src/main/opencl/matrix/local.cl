// Whether a group may have BYTES of local memory, whatever the driver says: fills all of it and reads it back in another
// order. One group; out[i] becomes the word that work-item i finds first, plus how many words are not what they should be
// times 2^16.
#include "../common/types.clh"
#ifndef BYTES
#define BYTES 32768
#endif
#define GROUP 256
#define WORDS (BYTES / 4)

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void probe(WRITES(out)) {
  __local uint words[WORDS];
  const uint id = (uint)get_local_id(0);
  for (uint i = id; i < WORDS; i += GROUP) words[i] = i ^ 0x5a5a;
  barrier(CLK_LOCAL_MEM_FENCE);
  uint wrong = 0;
  for (uint i = GROUP - 1 - id; i < WORDS; i += GROUP) wrong += words[i] != (i ^ 0x5a5a);
  AT(uint, out)[id] = words[GROUP - 1 - id] + (wrong << 16);
}
