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
  TRANSPOSED
}
