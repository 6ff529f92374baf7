package dev.weft;

import org.jspecify.annotations.Nullable;

/** The answer to "can this device run that spec": yes, or no with a reason. Immutable. */
public final class Support {
  private static final Support YES = new Support(null);

  private final @Nullable String reason;

  private Support(@Nullable String reason) {
    this.reason = reason;
  }

  /**
   * The device runs the spec, whatever the strides, alignment and sizes of a launch.
   *
   * @return yes
   */
  public static Support yes() {
    return YES;
  }

  /**
   * The device does not run the spec.
   *
   * @param reason why not, with the numbers that decide, such as {@code headDim=512, at most 256}
   * @return no
   */
  public static Support no(String reason) {
    if (reason.isBlank()) {
      throw new IllegalArgumentException("support: a no needs a reason");
    }
    return new Support(reason);
  }

  /**
   * Tells which answer this is.
   *
   * @return true for yes
   */
  public boolean isSupported() {
    return reason == null;
  }

  /**
   * Returns the reason of a no.
   *
   * @return the reason; empty for a yes
   */
  public String reason() {
    return reason == null ? "" : reason;
  }

  @Override
  public String toString() {
    return reason == null ? "yes" : "no: " + reason;
  }
}
