package dev.weft.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.ThreadLocalRandom;

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
      // Not createTempFile, whose files only their owner may read.
      String random = Long.toHexString(ThreadLocalRandom.current().nextLong());
      Path whole = folder.resolve("." + target.getFileName() + "." + random + ".part");
      try {
        Files.writeString(whole, text, StandardOpenOption.CREATE_NEW);
        Files.move(whole, target, StandardCopyOption.REPLACE_EXISTING);
      } finally {
        Files.deleteIfExists(whole);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
