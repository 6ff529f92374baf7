package dev.weft.moe;

/** What lies between an expert's projections; g is the gate, u the up projection. */
public enum ExpertActivation {
  /** {@code silu(g) * u}. */
  SWIGLU,
  /** {@code min(g, limit) * sigmoid(alpha * min(g, limit)) * (clamp(u, -limit, limit) + 1)}. */
  SWIGLU_CLAMPED,
  /** {@code gelu(g) * u} with the exact gelu (erf). */
  GEGLU,
  /** {@code gelu(g) * u} with the tanh approximation of gelu. */
  GEGLU_TANH,
  /** {@code max(u, 0)^2}; there is no gate. */
  RELU2;

  /**
   * Tells whether there is a gate.
   *
   * @return true for all but RELU2
   */
  public boolean isGated() {
    return this != RELU2;
  }
}
