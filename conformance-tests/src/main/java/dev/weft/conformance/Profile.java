package dev.weft.conformance;

/**
 * What a case asks of a provider beyond the core. A case carries a set of them and belongs to a run
 * that has them all; a provider that calls a profile mandatory has to support its cases.
 */
public enum Profile {
  /** Forward passes in F32 and the device contract: every provider's duty. */
  CORE,
  /** BF16 storage. */
  BF16,
  /** F16 storage. */
  F16,
  /** Backward passes. */
  TRAINING,
  /** Paged caches and decoding updates. */
  PAGED,
  /** Capture and replay. */
  GRAPHS,
  /** Much memory or time; only on request. */
  LARGE
}
