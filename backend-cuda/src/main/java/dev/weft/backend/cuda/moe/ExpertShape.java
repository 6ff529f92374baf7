package dev.weft.backend.cuda.moe;

import dev.weft.gpu.moe.ExpertWeights;
import dev.weft.moe.MoeDispatchSpec;

/**
 * What a choice of expert kernels may depend on.
 *
 * @param spec what was prepared
 * @param weights where the weights lie
 * @param shared whether this is the shared expert, whose rows are the tokens
 * @param xAligned whether rows of x start at multiples of 16 bytes
 * @param xPitch of x, in elements
 * @param tokens rows of x
 * @param savesZ whether the projection is to be saved
 */
record ExpertShape(
    MoeDispatchSpec spec,
    ExpertWeights weights,
    boolean shared,
    boolean xAligned,
    long xPitch,
    int tokens,
    boolean savesZ) {
  /** How far the rows of x reach, in bytes. */
  long xBytes() {
    return tokens * xPitch * spec.dataType().bytes();
  }

  /** The most sorted rows. */
  long mostRows() {
    return shared ? tokens : (long) tokens * spec.topK();
  }

  /** About how many rows an expert that has any gets. */
  long rowsPerExpert() {
    return mostRows() / Math.max(1, Math.min(mostRows(), weights.experts()));
  }
}
