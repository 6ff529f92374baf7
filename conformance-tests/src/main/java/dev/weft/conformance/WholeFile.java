package dev.weft.conformance;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Writes files that are there whole or not at all: into a temporary file beside them, which takes
 * their name once everything has reached the disk. A failure leaves what was there before, and
 * nothing else.
 */
public final class WholeFile {
  private WholeFile() {}

  /** What writes the content. */
  @FunctionalInterface
  public interface Content {
    /**
     * Writes all of it.
     *
     * @param channel an empty file
     * @throws IOException if it cannot be written
     */
    void writeTo(FileChannel channel) throws IOException;
  }

  /**
   * Writes a text in UTF-8.
   *
   * @param file the file to write or replace, in a directory that exists
   * @param text its content
   * @throws IOException naming the file and the reason, such as a full disk
   */
  public static void write(Path file, String text) throws IOException {
    write(
        file,
        channel -> {
          ByteBuffer bytes = ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
          while (bytes.hasRemaining()) {
            channel.write(bytes);
          }
        });
  }

  /**
   * Writes a file.
   *
   * @param file the file to write or replace, in a directory that exists
   * @param content writes its content
   * @throws IOException naming the file and the reason, such as a full disk
   */
  public static void write(Path file, Content content) throws IOException {
    Path name = file.getFileName();
    if (name == null) {
      throw new IOException(file + ": expected the name of a file to write");
    }
    if (Files.exists(file) && !Files.isRegularFile(file)) {
      // A rename would replace a device or a pipe by a file.
      throw new IOException(file + ": could not be written: it is there, and is no regular file");
    }
    // Not createTempFile, whose files only their owner may read.
    Path temporary =
        file.resolveSibling(
            "." + name + "." + Long.toHexString(ThreadLocalRandom.current().nextLong()) + ".tmp");
    try {
      try (FileChannel channel =
          FileChannel.open(temporary, StandardOpenOption.WRITE, StandardOpenOption.CREATE_NEW)) {
        content.writeTo(channel);
        channel.force(true);
      }
      Files.move(
          temporary, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } catch (IOException e) {
      throw new IOException(file + ": could not be written: " + reason(e, temporary), e);
    } finally {
      Files.deleteIfExists(temporary);
    }
  }

  /**
   * Says in words what went wrong with a file: the JDK's exceptions often have a path as their
   * message.
   *
   * @param e what was thrown
   * @param path the file
   * @return the reason alone
   */
  public static String reason(IOException e, Path path) {
    if (e instanceof NoSuchFileException) {
      return "no such directory: " + path.toAbsolutePath().getParent();
    }
    if (e instanceof AccessDeniedException) {
      return "permission denied";
    }
    String reason = e instanceof FileSystemException f ? f.getReason() : e.getMessage();
    return reason == null ? e.toString() : reason;
  }
}
