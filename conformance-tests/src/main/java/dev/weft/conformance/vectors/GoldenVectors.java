package dev.weft.conformance.vectors;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.List;

/**
 * The cases that come with the suite: inputs and outputs of the original implementations, computed
 * by their own code on a CPU. They anchor the reference backend to the outside world.
 */
public final class GoldenVectors {
  private static final String FOLDER = "/dev/weft/conformance/golden/";
  private static final String EXTENSION = ".safetensors";

  private GoldenVectors() {}

  /**
   * Lists the cases.
   *
   * @return their names, in alphabetical order
   */
  public static List<String> names() {
    // A folder inside a jar or a module cannot be listed; the index can.
    return new String(bytes("index.txt"), StandardCharsets.UTF_8)
        .lines()
        .map(String::strip)
        .filter(line -> !line.isEmpty())
        .toList();
  }

  /**
   * Reads a case.
   *
   * @param name one of {@link #names()}
   * @return the case, in memory
   * @throws IllegalArgumentException if there is none of that name
   */
  public static CaseFile open(String name) {
    if (!names().contains(name)) {
      throw new IllegalArgumentException(
          "golden vector: expected one of " + names() + ", but was '" + name + "'");
    }
    String file = name + EXTENSION;
    return CaseFile.of(file, Safetensors.parse(file, MemorySegment.ofArray(bytes(file))));
  }

  private static byte[] bytes(String resource) {
    try (InputStream in = GoldenVectors.class.getResourceAsStream(FOLDER + resource)) {
      if (in == null) {
        throw new IllegalStateException(
            "resource " + FOLDER + resource + " is missing; the jar is damaged");
      }
      return in.readAllBytes();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
