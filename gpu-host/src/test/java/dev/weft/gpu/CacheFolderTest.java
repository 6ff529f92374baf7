package dev.weft.gpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CacheFolderTest {
  @TempDir Path place;

  private static String of(String property, Map<String, String> environment, String home) {
    return String.valueOf(CacheFolder.of("acme", property, environment, home));
  }

  @Test
  void thePropertyGoesBeforeTheVariableBeforeTheUsualPlaces() {
    Map<String, String> all = Map.of("WEFT_ACME_CACHE", "/v", "XDG_CACHE_HOME", "/xdg");
    assertEquals("/p", of("/p", all, "/home/me"));
    assertEquals("/v", String.valueOf(CacheFolder.of("acme", null, all, "/home/me")));
    assertEquals(
        "/xdg/weft/acme",
        String.valueOf(CacheFolder.of("acme", null, Map.of("XDG_CACHE_HOME", "/xdg"), "/home/me")));
    assertEquals(
        "/home/me/.cache/weft/acme",
        String.valueOf(
            CacheFolder.of("acme", null, Map.of("XDG_CACHE_HOME", "relative"), "/home/me")));
    assertEquals("/home/me/.cache/weft/acme", of(" ", Map.of(), "/home/me"));
  }

  @Test
  void thereMayBeNone() {
    assertNull(CacheFolder.of("acme", "off", Map.of("WEFT_ACME_CACHE", "/v"), "/home/me"));
    assertNull(CacheFolder.of("acme", null, Map.of(), ""));
  }

  @Test
  void filesAreReplacedWholeAndTheFolderIsTheUsersAlone() throws IOException {
    Path folder = place.resolve("a/b");
    CacheFolder.write(folder, "program.bin", new byte[] {1});
    CacheFolder.write(folder, "program.bin", new byte[] {2, 3});
    assertArrayEquals(new byte[] {2, 3}, Files.readAllBytes(folder.resolve("program.bin")));
    try (Stream<Path> files = Files.list(folder)) {
      assertEquals(1, files.count(), "nothing unfinished is left");
    }
    Assumptions.assumeTrue(place.getFileSystem().supportedFileAttributeViews().contains("posix"));
    assertEquals("rwx------", PosixFilePermissions.toString(Files.getPosixFilePermissions(folder)));
  }
}
