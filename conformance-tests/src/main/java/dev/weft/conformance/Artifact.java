package dev.weft.conformance;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.module.ModuleDescriptor;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.CodeSource;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import java.util.function.Consumer;
import java.util.jar.Attributes;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.jar.Manifest;
import org.jspecify.annotations.Nullable;

/**
 * What a class was loaded from.
 *
 * @param version the jar's {@code Implementation-Version}, else its module's version, else the one
 *     that Maven left in it; {@code unknown} where there is none
 * @param file the jar's name without its folder; empty where it is no jar
 * @param sha256 of the jar; empty where it is no jar
 */
record Artifact(String version, String file, String sha256) {
  private static final String UNKNOWN = "unknown";

  static Artifact of(Class<?> type) {
    Path place = location(type);
    ModuleDescriptor module = type.getModule().getDescriptor();
    String version = module == null ? UNKNOWN : module.rawVersion().orElse(UNKNOWN);
    if (place == null || !Files.isRegularFile(place)) {
      return new Artifact(version, "", "");
    }
    try {
      byte[] bytes = Files.readAllBytes(place);
      String hash = sha256(digest -> digest.update(bytes));
      return new Artifact(versionOf(place, version), String.valueOf(place.getFileName()), hash);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The jar or folder of a class, or null where it came from elsewhere. */
  static @Nullable Path location(Class<?> type) {
    CodeSource source = type.getProtectionDomain().getCodeSource();
    if (source == null || source.getLocation() == null) {
      return null;
    }
    try {
      URI uri = source.getLocation().toURI();
      return "file".equals(uri.getScheme()) ? Path.of(uri) : null;
    } catch (URISyntaxException e) {
      return null;
    }
  }

  private static String versionOf(Path jar, String otherwise) throws IOException {
    try (JarFile file = new JarFile(jar.toFile())) {
      Manifest manifest = file.getManifest();
      String stated =
          manifest == null
              ? null
              : manifest.getMainAttributes().getValue(Attributes.Name.IMPLEMENTATION_VERSION);
      if (stated != null) {
        return stated;
      }
      if (!otherwise.equals(UNKNOWN)) {
        return otherwise;
      }
      List<JarEntry> found =
          file.stream()
              .filter(e -> e.getName().matches("META-INF/maven/.*/pom[.]properties"))
              .toList();
      if (found.size() != 1) { // of several merged into one jar none is the jar's
        return UNKNOWN;
      }
      Properties properties = new Properties();
      try (InputStream in = file.getInputStream(found.getFirst())) {
        properties.load(in);
      }
      return properties.getProperty("version", UNKNOWN);
    }
  }

  static String sha256(String text) {
    return sha256(digest -> digest.update(text.getBytes(StandardCharsets.UTF_8)));
  }

  static String sha256(Consumer<MessageDigest> content) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      content.accept(digest);
      return HexFormat.of().formatHex(digest.digest());
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java platform has SHA-256", e);
    }
  }
}
