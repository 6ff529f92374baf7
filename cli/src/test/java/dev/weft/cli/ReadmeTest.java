package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.HostTensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What the README shows is compiled, runs, and is there. */
class ReadmeTest {
  private static final Path MODULE = Path.of(System.getProperty("basedir", "."));
  private static final Path ROOT = MODULE.resolve("..");

  @Test
  void theExampleIsTheOneThatIsCompiled() throws IOException {
    List<String> shown =
        readme()
            .lines()
            .dropWhile(line -> !line.equals("```java"))
            .skip(1)
            .takeWhile(line -> !line.equals("```"))
            .map(String::strip)
            .toList();
    assertTrue(shown.size() >= 10, shown::toString);
    String source =
        Files.readString(MODULE.resolve("src/test/java/dev/weft/cli/ReadmeExample.java"));
    String compiled = String.join("\n", source.lines().map(String::strip).toList());
    assertTrue(compiled.contains(String.join("\n", shown)), () -> String.join("\n", shown));
  }

  @Test
  void theExampleRuns() {
    int tokens = 5;
    HostTensor zeros = HostTensor.allocate(DataType.F32, tokens, 4, 64);
    float[] ones = new float[tokens * 4 * 64];
    java.util.Arrays.fill(ones, 1);
    HostTensor values = HostTensor.ofFloats(DataType.F32, ones, tokens, 4, 64);
    HostTensor out = ReadmeExample.attention(zeros, zeros, values, tokens);
    assertEquals(1, out.get(0), 1e-6);
    assertEquals(1, out.get(out.elements() - 1), 1e-6);
  }

  @Test
  void everyFileThatItPointsToIsThere() throws IOException {
    var links = java.util.regex.Pattern.compile("\\]\\(([^)#:]+)\\)").matcher(readme());
    int found = 0;
    while (links.find()) {
      found++;
      assertTrue(Files.exists(ROOT.resolve(links.group(1))), links.group(1));
    }
    assertTrue(found > 0, "no link found");
  }

  private static String readme() throws IOException {
    return Files.readString(ROOT.resolve("README.md"));
  }
}
