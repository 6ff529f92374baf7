package dev.weft.cli;

import java.io.PrintStream;
import java.io.PrintWriter;
import java.nio.charset.Charset;

/**
 * Where the command writes: results to {@code out}, all else to {@code err}.
 *
 * @param out results
 * @param err errors and progress
 * @param isTerminal whether a person is watching: only then is there colour and progress
 */
record Console(PrintWriter out, PrintWriter err, boolean isTerminal) {
  /** The process's own streams. */
  @SuppressWarnings("SystemConsoleNull") // since JDK 25 it is null again when redirected
  static Console ofProcess() {
    java.io.Console terminal = System.console();
    return new Console(
        writer(System.out), writer(System.err), terminal != null && terminal.isTerminal());
  }

  private static PrintWriter writer(PrintStream stream) {
    Charset charset = stream.charset();
    return new PrintWriter(stream, true, charset);
  }
}
