package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import dev.weft.conformance.Certificate;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The certificates of docs/conformance are those of the reports beside them. */
class CheckedInCertificatesTest {
  private static final Path FOLDER = Path.of("..", "docs", "conformance");

  @Test
  void eachIsThatOfItsReport() throws IOException {
    List<Path> reports;
    try (Stream<Path> files = Files.list(FOLDER)) {
      reports = files.filter(file -> file.toString().endsWith(".json")).sorted().toList();
    }
    assertFalse(reports.isEmpty(), "no report in " + FOLDER);
    for (Path report : reports) {
      String name = String.valueOf(report.getFileName()).replaceFirst("[.]json$", ".md");
      String page = Files.readString(FOLDER.resolve(name));
      assertEquals(List.of(), Certificate.check(page, Files.readString(report)), name);
      assertEquals("PASSED", page.lines().findFirst().orElse("").replaceFirst(".*, ", ""), name);
    }
  }
}
