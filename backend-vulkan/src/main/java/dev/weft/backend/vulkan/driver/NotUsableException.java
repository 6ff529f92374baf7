package dev.weft.backend.vulkan.driver;

import java.io.Serial;
import org.jspecify.annotations.Nullable;

/** Why there is no Vulkan to use, and what to do about it. */
public final class NotUsableException extends Exception {
  @Serial private static final long serialVersionUID = 1;
  private final String remedy;

  NotUsableException(String reason, String remedy, @Nullable Throwable cause) {
    super(reason, cause);
    this.remedy = remedy;
  }

  /** What the user can do. */
  public String remedy() {
    return remedy;
  }
}
