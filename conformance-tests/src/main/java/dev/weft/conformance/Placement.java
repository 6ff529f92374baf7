package dev.weft.conformance;

/** How a tensor lies in device memory. Every backend takes all of them. */
public enum Placement {
  /** Dense, its start aligned to 256 bytes. */
  CONTIGUOUS,
  /** Gaps after every row of every dimension; rows stay aligned to 16 elements where sizes are. */
  PITCHED,
  /** The start aligned to one element only, and rows at an odd pitch. */
  MISALIGNED,
  /** The second last dimension innermost; only for tensors that allow it, such as conv states. */
  TRANSPOSED,
  /**
   * The rows of dimension 0 so far apart that the last ones lie beyond 2^32 elements. All tensors
   * of a type and number of rows lie side by side there, which takes 9 GB of device memory for BF16
   * and 18 GB for F32. Tensors of few or short rows, for which there is no such memory yet, are
   * contiguous.
   */
  FAR
}
