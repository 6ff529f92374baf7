package dev.weft.gpu;

import java.io.IOException;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Where a backend keeps what a driver's compiler made, for later processes. Several may use a
 * folder at once: files are written whole, by rename.
 */
public final class CacheFolder {
  private static final String OFF = "off";

  private CacheFolder() {}

  /**
   * Where it lies: at the property {@code weft.ID.cache}, at {@code WEFT_ID_CACHE}, or below
   * XDG_CACHE_HOME or the home folder.
   *
   * @param id the provider's
   * @return null for none, which {@code off} asks for
   */
  public static @Nullable Path ofUser(String id) {
    return of(id, property(id), System.getenv(), System.getProperty("user.home", ""));
  }

  /** Whether the user's settings say where it lies, or that there is none. */
  public static boolean isNamed(String id) {
    return named(id, property(id), System.getenv()) != null;
  }

  private static @Nullable String property(String id) {
    return System.getProperty("weft." + id + ".cache");
  }

  private static @Nullable String named(
      String id, @Nullable String property, Map<String, String> environment) {
    String named =
        property != null
            ? property
            : environment.get("WEFT_" + id.toUpperCase(Locale.ROOT) + "_CACHE");
    return named == null || named.isBlank() ? null : named;
  }

  static @Nullable Path of(
      String id, @Nullable String property, Map<String, String> environment, String home) {
    String named = named(id, property, environment);
    if (named != null) {
      return named.equals(OFF) ? null : Path.of(named);
    }
    String xdg = environment.get("XDG_CACHE_HOME");
    if (xdg != null && Path.of(xdg).isAbsolute()) {
      return Path.of(xdg, "weft", id);
    }
    return home.isBlank() ? null : Path.of(home, ".cache", "weft", id);
  }

  /**
   * Writes a file, whole or not at all, and makes its folder where there is none.
   *
   * @param folder where
   * @param name the file's; unfinished ones end in {@code .tmp}
   * @param content of the file
   */
  public static void write(Path folder, String name, byte[] content) throws IOException {
    make(folder);
    Path unfinished =
        Files.createTempFile(folder, name.substring(0, Math.min(16, name.length())), ".tmp");
    try {
      Files.write(unfinished, content);
      Path file = folder.resolve(name);
      try {
        Files.move(unfinished, file, StandardCopyOption.ATOMIC_MOVE);
      } catch (AtomicMoveNotSupportedException e) {
        Files.move(unfinished, file, StandardCopyOption.REPLACE_EXISTING);
      }
    } finally {
      Files.deleteIfExists(unfinished); // it is there only where something was thrown
    }
  }

  private static void make(Path folder) throws IOException {
    if (Files.isDirectory(folder)) {
      return;
    }
    if (folder.getFileSystem().supportedFileAttributeViews().contains("posix")) {
      // The user's alone: what another user could write would run in this process.
      Files.createDirectories(
          folder,
          PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
    } else {
      Files.createDirectories(folder);
    }
  }
}
