package dev.weft.product;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.product.Processes.Ended;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** docs/write-a-backend.md, done as it says: its files and its commands, in an empty folder. */
class WriteABackendIT {
  /** A fenced block, and what stands before it. */
  private static final Pattern BLOCK =
      Pattern.compile("(?ms)^```([a-z]*)( prerequisite)?\\n(.*?)^```$");

  private static final Pattern FILE_NAME = Pattern.compile("(?m)^`([^`\\n]+)`:[^\\n]*\\n+\\z");

  private final Path folder = Processes.WORK.resolve("write-a-backend");
  private final Path bin = Processes.WORK.resolve("bin");

  @Test
  void whatThePageSaysWorksWordForWord() throws IOException, InterruptedException {
    Processes.delete(folder);
    Files.createDirectories(folder);
    commands();
    String page = Files.readString(Processes.ROOT.resolve("docs/write-a-backend.md"));
    List<String> done = new ArrayList<>();
    Matcher block = BLOCK.matcher(page);
    for (int before = 0; block.find(); before = block.end()) {
      String text = Objects.requireNonNull(block.group(3));
      Matcher name = FILE_NAME.matcher(page.substring(before, block.start()));
      if (name.find()) {
        Path file = folder.resolve(Objects.requireNonNull(name.group(1)));
        Files.createDirectories(Objects.requireNonNull(file.getParent()));
        Files.writeString(file, text);
        done.add(String.valueOf(file.getFileName()));
      } else if ("sh".equals(block.group(1)) && block.group(2) == null) {
        for (String line : text.lines().toList()) {
          Ended ended = Processes.run(folder, List.of("bash", "-euc", environment() + line));
          assertEquals(0, ended.code(), () -> line + "\n" + ended.text());
          done.add(line);
        }
      }
    }
    assertTrue(
        done.containsAll(
            Set.of("pom.xml", "AcmeProvider.java", "AcmeConv1d.java", "mvn -B verify")),
        done::toString);
    assertEquals(17, done.size(), done::toString);
    String certificate = Files.readString(folder.resolve("certified/acme.md"));
    assertTrue(certificate.startsWith("# Weft conformance: acme 1.0.0, PASSED"), certificate);
  }

  private String environment() {
    return "export WEFT='" + bin + "' PATH=\"" + bin + ":$PATH\"\n";
  }

  /** What stands for a clone of Weft and a Maven that knows its artifacts. */
  private void commands() throws IOException {
    Files.createDirectories(bin);
    executable(bin.resolve("mvn"), Processes.mavenCommand());
    executable(bin.resolve("weft"), Processes.weftCommand(List.of()));
  }

  private static void executable(Path file, List<String> command) throws IOException {
    StringBuilder script = new StringBuilder("#!/bin/sh\nexec");
    command.forEach(word -> script.append(" '").append(word).append('\''));
    Files.writeString(file, script.append(" \"$@\"\n"));
    assertTrue(file.toFile().setExecutable(true));
  }
}
