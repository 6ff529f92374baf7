package dev.weft.fake;

import static org.junit.jupiter.api.Assertions.assertTrue;

/** What a message must say. */
public final class Messages {
  private Messages() {}

  /** Fails unless the message has all the parts. */
  public static void assertMentions(Throwable thrown, String... parts) {
    String message = String.valueOf(thrown.getMessage());
    for (String part : parts) {
      assertTrue(message.contains(part), () -> "'" + part + "' is not in: " + message);
    }
  }
}
