package dev.weft.gpu;

import java.io.Serial;
import org.jspecify.annotations.Nullable;

/** Why there is no driver to use, and what to do about it. */
public final class NotUsableException extends Exception {
  @Serial private static final long serialVersionUID = 1;
  private final String remedy;

  /**
   * Says both.
   *
   * @param reason what is missing or does not fit
   * @param remedy what the user can do
   * @param cause what a library threw, if that tells more
   */
  public NotUsableException(String reason, String remedy, @Nullable Throwable cause) {
    super(reason, cause);
    this.remedy = remedy;
  }

  /** What is missing or does not fit. */
  public String reason() {
    return String.valueOf(getMessage());
  }

  /** What the user can do. */
  public String remedy() {
    return remedy;
  }
}
