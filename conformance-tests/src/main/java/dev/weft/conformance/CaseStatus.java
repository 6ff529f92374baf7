package dev.weft.conformance;

/** How a case ended. */
public enum CaseStatus {
  /** It ran and all checks held. */
  PASS,
  /** It did something wrong, or may not be unsupported. */
  FAIL,
  /** The provider says no to its spec, with a reason. */
  UNSUPPORTED,
  /** It failed, and a waiver names it. */
  WAIVED,
  /** It was not run, because the run lacks one of its profiles or had ended. */
  NOT_RUN
}
