package dev.weft.conformance;

import dev.weft.spi.KernelProvider;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Predicate;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** What the suite itself is: the list of its cases, and a hash of the code that judges them. */
final class Suite {
  /** The checked-in list of cases: an id and its profiles on each line. */
  static final String CASE_LIST = "cases.txt";

  private static final String HERE = "dev/weft/conformance/";

  // The oracle and what it computes with, without the backend "cpu" beside it.
  private static final List<String> ORACLE =
      List.of(
          "dev/weft/backend/cpu/reference/",
          "dev/weft/backend/cpu/host/",
          "dev/weft/backend/cpu/moba/");

  private Suite() {}

  /** The ids in the checked-in list, in the order of reports. */
  static List<String> caseIds() {
    return lines().map(line -> line.substring(0, line.indexOf(' '))).toList();
  }

  /** The checked-in list's lines, without comments. */
  static Stream<String> lines() {
    try (InputStream in = Suite.class.getResourceAsStream(CASE_LIST)) {
      if (in == null) {
        throw new IllegalStateException(CASE_LIST + " is missing beside " + Suite.class);
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8)
          .lines().filter(line -> !line.startsWith("#")).toList().stream();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The line of a case. */
  static String line(ConformanceCase c) {
    return c.id() + ' ' + String.join(",", c.profiles().stream().map(Profile::name).toList());
  }

  /**
   * The SHA-256 of the classes and resources that make, run and judge cases: those of the suite,
   * without the case files of {@code weft check}, and the oracle's. The same for a jar and for the
   * folder that it was packed from.
   *
   * @return 64 hexadecimal digits, or {@code unknown} where the classes lie in neither
   */
  static String hash() {
    Map<String, byte[]> files = new TreeMap<>();
    KernelProvider oracle = ReferenceBackend.oracle();
    if (!collect(Artifact.location(Suite.class), Suite::isSuite, files)
        || !collect(Artifact.location(oracle.getClass()), Suite::isOracle, files)) {
      return "unknown";
    }
    return Artifact.sha256(digest ->
        files.forEach((name, content) -> {
          digest.update((name + '\n' + content.length + '\n').getBytes(StandardCharsets.UTF_8));
          digest.update(content);
        }));
  }

  private static boolean isSuite(String name) {
    return name.startsWith(HERE)
        && !name.startsWith(HERE + "golden/")
        && !name.startsWith(HERE + "vectors/");
  }

  private static boolean isOracle(String name) {
    return ORACLE.stream().anyMatch(name::startsWith);
  }

  private static boolean collect(
      @Nullable Path place, Predicate<String> chosen, Map<String, byte[]> files) {
    if (place == null) {
      return false;
    }
    try {
      if (Files.isDirectory(place)) {
        collectFrom(place, chosen, files);
      } else {
        collectFromJar(place, chosen, files);
      }
      return true;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void collectFromJar(
      Path place, Predicate<String> chosen, Map<String, byte[]> files) throws IOException {
    try (JarFile jar = new JarFile(place.toFile())) {
      for (JarEntry entry : Collections.list(jar.entries())) {
        if (!entry.isDirectory() && chosen.test(entry.getName())) {
          try (InputStream in = jar.getInputStream(entry)) {
            files.put(entry.getName(), in.readAllBytes());
          }
        }
      }
    }
  }

  private static void collectFrom(Path root, Predicate<String> chosen, Map<String, byte[]> files)
      throws IOException {
    try (Stream<Path> all = Files.walk(root)) {
      for (Path file : all.filter(Files::isRegularFile).toList()) {
        String name = root.relativize(file).toString().replace('\\', '/');
        if (chosen.test(name)) {
          files.put(name, Files.readAllBytes(file));
        }
      }
    }
  }
}
