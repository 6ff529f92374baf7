package dev.weft.backend.opencl.programs;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The OpenCL C sources in the jar. Includes are put in their place here, as the preprocessor would
 * (a file says by a guard that once is enough; {@code common/tile.clh} is included for each shape
 * of tile), so that a program is one text: no driver has to find a folder, and a hash of the text
 * covers everything.
 */
final class KernelSources {
  private static final Pattern INCLUDE =
      Pattern.compile("\\s*#\\s*include\\s+\"([^\"]+)\"\\s*(//.*|/\\*.*\\*/\\s*)?");

  private KernelSources() {}

  /**
   * Reads a source with all that it includes. Names are relative to the file that they stand in.
   *
   * @param source without its suffix, such as {@code moba/attend}
   * @throws IllegalArgumentException if there is no such source
   */
  static String read(String source) {
    StringBuilder text = new StringBuilder();
    append(source + ".cl", text, new ArrayDeque<>());
    return text.toString();
  }

  private static void append(String file, StringBuilder text, Deque<String> within) {
    String content = resource(file);
    if (content == null || within.contains(file)) {
      throw new IllegalArgumentException(
          (content == null
                  ? "there is no OpenCL C source "
                  : "an OpenCL C source includes itself: ")
              + file);
    }
    within.push(file);
    text.append("#line 1 \"").append(file).append("\"\n");
    int line = 0;
    for (String each : content.lines().toList()) {
      line++;
      Matcher include = INCLUDE.matcher(each);
      if (include.matches()) {
        append(resolve(file, include.group(1)), text, within);
        text.append("#line ").append(line + 1).append(" \"").append(file).append("\"\n");
      } else {
        text.append(each).append('\n');
      }
    }
    within.pop();
  }

  private static String resolve(String file, String name) {
    return URI.create(file).resolve(name).toString();
  }

  private static @Nullable String resource(String file) {
    try (InputStream in =
        KernelSources.class.getResourceAsStream("/dev/weft/backend/opencl/" + file)) {
      return in == null ? null : new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
