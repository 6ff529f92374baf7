package dev.weft.cli;

/** How the command ends. Where several cases were run, the highest of theirs counts. */
final class ExitCode {
  static final int GOOD = 0;

  /** A result is wrong, or a computation failed. */
  static final int WRONG = 1;

  /** The command line, or a file that it names, is not what it must be. */
  static final int USAGE = 2;

  /** The backend, or what was asked of it, is not to be had here. */
  static final int UNAVAILABLE = 3;

  private ExitCode() {}
}
