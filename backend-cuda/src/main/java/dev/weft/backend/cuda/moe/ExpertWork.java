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
 * @param ids [tokens, topK] I32, from which the rows were sorted
 * @param idPitch of ids
 * @param counters {@link #counters} I32 that the sort set to 0
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
    long ids,
    long idPitch,
    long counters) {
  private static final int QUEUES = 2;

  /** How many counters kernels of so many experts may use. */
  static int counters(int experts) {
    return QUEUES + experts;
  }

  /** One int: work items of the first projection, or of both, that blocks took. */
  long projectCounter() {
    return counters;
  }

  /** One int: work items of the second projection that blocks took. */
  long downCounter() {
    return counters + Integer.BYTES;
  }

  /** An int for each expert, for kernels of both projections. */
  long doneCounters() {
    return counters + QUEUES * Integer.BYTES;
  }

  /** Slots that were sorted; none for the shared expert. */
  int slots() {
    return isShared() ? 0 : tokens * spec.topK();
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
