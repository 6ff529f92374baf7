package dev.weft.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** The checked-in list of cases, by which a case that is renamed or lost is noticed. */
class CaseListTest {
  private static final List<String> HEADING =
      List.of(
          "# The suite's cases with their profiles, in the order of reports. Ids are stable:"
              + " reports and waivers name them, and inputs derive from them.",
          "# To add a case is to add its line. To rename or remove one, or to change its profiles,"
              + " takes a new ConformanceRun.SUITE_VERSION.",
          "# Suite version " + ConformanceRun.SUITE_VERSION);

  @Test
  void the_list_names_every_case_with_its_profiles() throws IOException {
    List<String> listed = Suite.lines().toList();
    List<String> actual = Catalogues.all().stream().map(Suite::line).toList();
    if (listed.equals(actual)) {
      return;
    }
    Path made = Path.of("target", Suite.CASE_LIST);
    List<String> lines = new ArrayList<>(HEADING);
    lines.addAll(actual);
    Files.write(made, lines);
    Set<String> gone = new LinkedHashSet<>(listed);
    actual.forEach(gone::remove);
    Set<String> come = new LinkedHashSet<>(actual);
    listed.forEach(come::remove);
    fail(
        "not in the suite any more: "
            + gone
            + "\nnew in the suite: "
            + come
            + "\nThe list as it would be now is in conformance-tests/"
            + made
            + "; if that is meant, put it in the place of the resource "
            + Suite.CASE_LIST
            + (gone.isEmpty() ? "" : ", and count ConformanceRun.SUITE_VERSION up"));
  }

  @Test
  void ids_are_read_without_their_profiles() {
    assertEquals(Catalogues.all().stream().map(ConformanceCase::id).toList(), Suite.caseIds());
  }

  @Test
  void the_hash_is_one_of_code_that_could_be_read() {
    assertTrue(Suite.hash().matches("[0-9a-f]{64}"), Suite.hash());
    assertEquals(Suite.hash(), Suite.hash());
  }
}
