package dev.weft.conformance.vectors;

import java.io.Serial;
import org.jspecify.annotations.Nullable;

/**
 * A vector file that is missing, damaged or does not say what it must. The message is one line that
 * names the file, the thing in it, what was expected and what was given.
 */
public final class VectorFormatException extends IllegalArgumentException {
  @Serial private static final long serialVersionUID = 1;

  private final String file;

  /**
   * Creates an exception.
   *
   * @param file the file, as the user named it
   * @param problem the thing, what was expected and what was given
   */
  public VectorFormatException(String file, String problem) {
    this(file, problem, null);
  }

  /**
   * Creates an exception with a cause.
   *
   * @param file the file, as the user named it
   * @param problem the thing, what was expected and what was given
   * @param cause what found it, or null
   */
  public VectorFormatException(String file, String problem, @Nullable Throwable cause) {
    super(oneLine(file + ": " + problem), cause);
    this.file = file;
  }

  /** A damaged file may name its tensors anything, line ends and terminal codes included. */
  private static String oneLine(String message) {
    return message.replaceAll("\\p{Cntrl}", "?");
  }

  /**
   * Returns the file.
   *
   * @return its path or name, as the user named it
   */
  public String file() {
    return file;
  }
}
