package dev.weft.backend.vulkan.driver;

import dev.weft.DeviceException;
import java.util.ArrayList;
import java.util.List;

/** What the validation layer complained about and nobody was told yet. Used by many threads. */
public final class ValidationMessages {
  private static final int MOST = 20;
  private final List<String> messages = new ArrayList<>();

  synchronized void add(String message) {
    if (messages.size() < MOST) {
      messages.add(message);
    }
  }

  /** Throws what has come in, once. Silent without a validation layer. */
  public void check() {
    List<String> found;
    synchronized (this) {
      if (messages.isEmpty()) {
        return;
      }
      found = List.copyOf(messages);
      messages.clear();
    }
    throw new DeviceException(
        "Vulkan validation",
        found.size(),
        "complaints of the validation layer:\n  " + String.join("\n  ", found) + "\n ",
        null);
  }
}
