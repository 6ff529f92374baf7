package dev.weft.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/** Writes files that are there whole, or not at all. */
final class WholeFile {
  private WholeFile() {}

  /** Writes a text beside the file and renames it; makes the folder if need be. */
  static void write(Path file, String text) {
    try {
      Path target = file.toAbsolutePath();
      Path folder = target.getParent();
      if (folder == null) {
        throw new IllegalArgumentException(file + ": expected a file, but it is a folder");
      }
      Files.createDirectories(folder);
      Path whole = Files.createTempFile(folder, "." + target.getFileName(), ".part");
      try {
        Files.writeString(whole, text);
        Files.move(whole, target, StandardCopyOption.REPLACE_EXISTING);
      } finally {
        Files.deleteIfExists(whole);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
