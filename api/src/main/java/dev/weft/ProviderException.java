package dev.weft;

import java.io.Serial;
import org.jspecify.annotations.Nullable;

/** A provider threw something that its contract does not allow; names the provider and the call. */
public final class ProviderException extends WeftException {
  @Serial private static final long serialVersionUID = 1;

  private final String providerId;

  /**
   * Creates an exception.
   *
   * @param providerId the provider's id
   * @param call the SPI call that failed
   * @param cause what the provider threw, or null if it returned something illegal
   */
  public ProviderException(String providerId, String call, @Nullable Throwable cause) {
    super(
        "provider '"
            + providerId
            + "' failed in "
            + call
            + (cause == null ? "" : ": " + cause)
            + "; this is a defect of that provider",
        cause);
    this.providerId = providerId;
  }

  /**
   * Returns the provider at fault.
   *
   * @return its id
   */
  public String providerId() {
    return providerId;
  }
}
