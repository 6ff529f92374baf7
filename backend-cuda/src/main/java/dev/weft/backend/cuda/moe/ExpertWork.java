package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import dev.weft.gpu.moe.ExpertWeights;
import dev.weft.moe.MoeDispatchSpec;

/**
 * One run of experts over rows, as the structures of experts.cuh have it: addresses on the device,
 * pitches in elements.
 *
 * @param spec what was prepared
 * @param weights the routed experts' or the shared one's
 * @param rows which rows, by expert
 * @param x [tokens, H]
 * @param xPitch of x
 * @param xAligned whether rows of x start at multiples of 16 bytes
 * @param firstToken the number of the first row of x in the call: the device's count of tokens
 *     counts from before it
 * @param tokens rows of x
 * @param tokenCount [1] I32: how many are there; 0 for all
 * @param act [mostRows, I] scratch in the type of x, 16-byte aligned
 * @param actPitch of act, a multiple of 16 bytes
 * @param out [tokens * topK, H] scratch in slot order, or [tokens, H] for the shared expert
 * @param outPitch of out, a multiple of 16 bytes
 * @param z where to save the projection, or 0
 * @param zPitch of z
 * @param zRows [tokens * topK] I32, the row of z by slot; 0 where rows of z are the sorted rows
 * @param counters {@link SlotSort#ITEM_COUNTERS} I32 that the sort set to 0, for kernels whose
 *     blocks take work as they become free; 0 for none
 */
record ExpertWork(
    MoeDispatchSpec spec,
    ExpertWeights weights,
    SortedRows rows,
    long x,
    long xPitch,
    boolean xAligned,
    int firstToken,
    int tokens,
    long tokenCount,
    long act,
    long actPitch,
    long out,
    long outPitch,
    long z,
    long zPitch,
    long zRows,
    long counters) {

  /** One int, 0 when the first projection starts; 0 for none. */
  long projectCounter() {
    return counters;
  }

  /** One int, 0 when the second projection starts; 0 for none. */
  long downCounter() {
    return counters == 0 ? 0 : counters + Integer.BYTES;
  }

  DataType type() {
    return spec.dataType();
  }

  boolean isShared() {
    return rows.permutation() == 0;
  }

  /** Slots of a token: 1 for the shared expert. */
  int topK() {
    return isShared() ? 1 : spec.topK();
  }
}
