package dev.weft.cli;

import com.google.inject.ProvisionException;
import dev.weft.BackendUnavailableException;
import dev.weft.DeviceOutOfMemoryException;
import dev.weft.UnsupportedSpecException;
import dev.weft.WeftException;
import java.io.IOException;
import java.io.Serial;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.util.concurrent.ExecutionException;

/** Says of a failure, in one line, what it was, and which exit code it is. */
final class Failures {
  private Failures() {}

  /** Writes the line, and the stack trace if it was asked for. */
  static int report(Throwable failure, Console console, boolean verbose) {
    Throwable cause = unwrap(failure);
    if (verbose) {
      cause.printStackTrace(console.err());
    }
    console.err().println("weft: " + describe(cause));
    console.err().flush();
    return exitCode(cause);
  }

  /** The failure of one file: its message names the file, if it did not already. */
  static Throwable about(Path file, Throwable failure) {
    Throwable cause = unwrap(failure);
    String message = String.valueOf(cause.getMessage());
    if (message.contains(String.valueOf(file.getFileName()))) {
      return cause;
    }
    return new FileFailure(file + ": " + describe(cause), exitCode(cause), cause);
  }

  /** What went wrong with one of several files. */
  private static final class FileFailure extends RuntimeException {
    @Serial private static final long serialVersionUID = 1;
    private final int exitCode;

    FileFailure(String message, int exitCode, Throwable cause) {
      super(message, cause);
      this.exitCode = exitCode;
    }
  }

  static int exitCode(Throwable failure) {
    return switch (unwrap(failure)) {
      case FileFailure e -> e.exitCode;
      case BackendUnavailableException _,
          UnsupportedSpecException _,
          DeviceOutOfMemoryException _ ->
          ExitCode.UNAVAILABLE;
      case OutOfMemoryError _ -> ExitCode.UNAVAILABLE;
      case IllegalArgumentException _, IOException _ -> ExitCode.USAGE;
      default -> ExitCode.WRONG;
    };
  }

  static String describe(Throwable failure) {
    Throwable cause = unwrap(failure);
    return switch (cause) {
      case FileFailure e -> String.valueOf(e.getMessage());
      case NoSuchFileException e -> e.getFile() + ": no such file or folder";
      case NotDirectoryException e -> e.getFile() + ": expected a folder";
      case FileAlreadyExistsException e -> e.getFile() + ": expected a folder, but it is a file";
      case AccessDeniedException e -> e.getFile() + ": access denied";
      case FileSystemException e -> oneLine(e);
      case WeftException e -> oneLine(e);
      case IllegalArgumentException e -> oneLine(e);
      case IOException e -> oneLine(e);
      case OutOfMemoryError e ->
          "Java ran out of memory (" + e.getMessage() + "); try WEFT_JAVA_OPTS=-Xmx8g";
      default -> "internal error, please report it (--verbose shows where): " + oneLine(cause);
    };
  }

  private static Throwable unwrap(Throwable failure) {
    Throwable cause = failure;
    while ((cause instanceof ProvisionException
            || cause instanceof UncheckedIOException
            || cause instanceof ExecutionException)
        && cause.getCause() != null) {
      cause = cause.getCause();
    }
    return cause;
  }

  private static String oneLine(Throwable failure) {
    String message = failure.getMessage();
    boolean named = failure instanceof WeftException || failure instanceof IllegalArgumentException;
    String text = named && message != null ? message : failure.toString();
    return text.strip().replaceAll("\\s*\\R\\s*", " ");
  }
}
