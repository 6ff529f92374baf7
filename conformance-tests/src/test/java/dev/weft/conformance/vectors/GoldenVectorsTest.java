package dev.weft.conformance.vectors;

import static dev.weft.conformance.vectors.VectorAssertions.message;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class GoldenVectorsTest {
  @Test
  void theIndexListsEveryFile() throws IOException, URISyntaxException {
    URL index = GoldenVectors.class.getResource("/dev/weft/conformance/golden/index.txt");
    assertTrue(index != null && index.getProtocol().equals("file"), "not a folder: " + index);
    Path folder = Path.of(new URI(String.valueOf(index))).resolveSibling(".");
    try (Stream<Path> files = Files.list(folder)) {
      List<String> names =
          files
              .map(file -> String.valueOf(file.getFileName()))
              .filter(file -> file.endsWith(".safetensors"))
              .map(file -> file.substring(0, file.lastIndexOf('.')))
              .sorted()
              .toList();
      assertEquals(names, GoldenVectors.names());
    }
    assertEquals(22, GoldenVectors.names().size());
  }

  @Test
  void everyVectorIsACaseWithExpectedOutputs() {
    for (String name : GoldenVectors.names()) {
      CaseFile file = GoldenVectors.open(name);
      assertEquals(name, file.name());
      assertTrue(file.expected().containsKey("out"), name);
      assertTrue(!file.source().isEmpty(), name);
    }
  }

  @Test
  void anUnknownNameIsNamed() {
    String message =
        message(assertThrows(IllegalArgumentException.class, () -> GoldenVectors.open("../x")));
    assertTrue(message.endsWith("but was '../x'"), message);
  }
}
