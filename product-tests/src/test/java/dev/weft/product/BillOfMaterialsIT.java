package dev.weft.product;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** The BOM names every artifact that is published, and has their version. */
class BillOfMaterialsIT {
  private static Set<String> found(String text, String pattern) {
    Set<String> found = new TreeSet<>();
    Matcher matcher = Pattern.compile(pattern).matcher(text);
    while (matcher.find()) {
      found.add(String.valueOf(matcher.group(1)));
    }
    return found;
  }

  @Test
  void itNamesEveryModuleAndTheVersionOfAll() throws IOException {
    String bom = Files.readString(Processes.ROOT.resolve("bom/pom.xml"));
    Set<String> modules =
        found(Files.readString(Processes.ROOT.resolve("pom.xml")), "<module>([a-z0-9-]+)</module>");
    modules.removeAll(Set.of("bom", "product-tests", "benchmarks")); // not published
    assertEquals(
        modules, found(bom, "<artifactId>weft-([a-z0-9-]+)</artifactId><version>[$]\\{project"));
    assertTrue(bom.contains("<version>" + Processes.VERSION + "</version>"), bom);
  }

  @Test
  void theExampleUsesThatVersionToo() throws IOException {
    for (String file : Set.of("examples/third-party-backend/pom.xml", "docs/write-a-backend.md")) {
      assertTrue(Files.readString(Processes.ROOT.resolve(file)).contains(Processes.VERSION), file);
    }
  }
}
