package dev.weft.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A file of known failures: on each line a case's id, a space, and the reason or the address of the
 * report. Empty lines and lines that begin with # say nothing.
 */
final class Waivers {
  private Waivers() {}

  static Map<String, String> read(Path file) throws IOException {
    Map<String, String> waivers = new LinkedHashMap<>();
    List<String> lines = Files.readAllLines(file);
    for (int i = 0; i < lines.size(); i++) {
      String line = lines.get(i).strip();
      if (line.isEmpty() || line.startsWith("#")) {
        continue;
      }
      int space = line.indexOf(' ');
      if (space < 0) {
        throw new IllegalArgumentException(
            file + ":" + (i + 1) + ": expected a case's id, a space and the reason");
      }
      if (waivers.put(line.substring(0, space), line.substring(space).strip()) != null) {
        throw new IllegalArgumentException(file + ":" + (i + 1) + ": this case is waived already");
      }
    }
    return waivers;
  }
}
