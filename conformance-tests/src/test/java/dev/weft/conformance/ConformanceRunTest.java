package dev.weft.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.spi.Expected;
import dev.weft.spi.KernelProvider;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.w3c.dom.Document;
import org.w3c.dom.Element;

/** The engine, with cases made for the purpose: placements, guards, leaks, hangs, reports. */
class ConformanceRunTest {
  private final KernelProvider cpu =
      ReferenceBackend.provider("dev.weft.backend.cpu.CpuProvider"::equals);

  private static ConformanceCase of(String feature, ConformanceCase.Body body) {
    return ConformanceCase.of("test.op", DataType.F32, "", feature, Family.RAMP).runs(body);
  }

  private ConformanceReport run(ConformanceCase... cases) {
    try (ConformanceRun run =
        ConformanceRun.of(cpu)
            .catalogues(List.of(() -> java.util.stream.Stream.of(cases)))
            .caseLimit(Duration.ofSeconds(5))
            .open()) {
      return run.execute(outcome -> {});
    }
  }

  private void fails(ConformanceCase.Body body, String... words) {
    CaseOutcome outcome = run(of("fails", body)).outcomes().getFirst();
    assertEquals(CaseStatus.FAIL, outcome.status());
    for (String word : words) {
      assertTrue(outcome.message().contains(word), outcome.message());
    }
  }

  private void passes(ConformanceCase.Body body) {
    CaseOutcome outcome = run(of("passes", body)).outcomes().getFirst();
    assertEquals(CaseStatus.PASS, outcome.status(), outcome.message());
  }

  /** In every placement a copy from one tensor to another is right, and touches nothing else. */
  @Test
  void tensors_are_placed_as_asked_and_hold_their_values() {
    for (Placement placement : Placement.values()) {
      passes(c -> {
        Operand x = c.tensor("x", DataType.BF16, 3, 4, 5).placement(placement).input();
        Operand out = c.tensor("out", DataType.BF16, 3, 4, 5).placement(placement).output();
        Tensor t = c.tested().of(x);
        switch (placement) {
          case CONTIGUOUS, FAR -> { // this one has too few rows to be far
            c.require(t.isContiguous(), "not contiguous");
            c.require(t.byteOffset() % 256 == 0, "offset " + t.byteOffset());
          }
          case PITCHED -> c.require(t.stride(0) == 5 * 21, "strides " + t.stride(0));
          case MISALIGNED -> {
            c.require(t.byteOffset() % 4 == 2, "offset " + t.byteOffset());
            c.require(t.stride(1) % 2 == 1 && t.stride(-1) == 1, "stride " + t.stride(1));
          }
          case TRANSPOSED ->
              c.require(t.stride(1) == 1 && t.stride(2) == 4, "stride " + t.stride(2));
        }
        HostTensor want = HostTensor.allocate(DataType.BF16, 3, 4, 5);
        Values.ramp().fill(want, c.draw("x"));
        c.checkBits(x, want);
        c.launch(stream -> stream.copy(c.tested().of(x), c.tested().of(out)));
        c.checkBits(out, want);
        c.check(out, Expected.exact(c.reference().of(x).download().toDoubles()));
      });
    }
  }

  @Test
  void packed_tensors_lie_side_by_side_in_one_allocation() {
    passes(c -> {
      List<Operand> parts =
          c.packInputs(c.tensor("q", DataType.F32, 6, 2, 4), c.tensor("k", DataType.F32, 6, 1, 4));
      Tensor q = c.tested().of(parts.get(0));
      Tensor k = c.tested().of(parts.get(1));
      c.require(q.memory().equals(k.memory()), "two allocations");
      c.require(k.byteOffset() - q.byteOffset() == 32, "k at " + k.byteOffset());
      c.require(q.stride(0) == k.stride(0) && q.stride(0) == 15, "pitch " + q.stride(0));
    });
  }

  @Test
  void writes_between_rows_and_into_inputs_are_seen() {
    fails(
        c -> {
          Operand out = c.tensor("out", DataType.F32, 4, 6).placement(Placement.PITCHED).output();
          // One column too many: the gap behind each row.
          c.launch(stream -> writeAll(c, stream, out));
        },
        "after the launch: wrote outside of out",
        "elements from it, in a guard band or between rows");
    fails(
        c -> {
          Operand x = c.tensor("x", DataType.F32, 4, 6).input();
          c.launch(stream -> stream.zero(c.tested().of(x)));
        },
        "after the launch: input x was modified at [0, 0]");
  }

  private static void writeAll(CaseContext c, Stream stream, Operand operand) {
    Tensor t = c.tested().of(operand);
    byte[] bytes = new byte[(int) (3 * t.stride(0) + 7) * 4];
    java.lang.foreign.MemorySegment segment =
        java.lang.foreign.Arena.ofAuto().allocate(bytes.length);
    stream.backend().upload(segment, t.memory(), t.byteOffset());
  }

  @Test
  void settled_outputs_are_inputs_and_the_reference_gets_their_bits() {
    passes(c -> {
      Operand out = c.tensor("out", DataType.I32, 5).output();
      c.launch(stream -> stream.fill(c.tested().of(out), (byte) 1));
      c.settle(out);
      c.require(c.reference().of(out).download().toInts()[4] == 0x01010101, "not what was written");
    });
    fails(
        c -> {
          Operand out = c.tensor("out", DataType.I32, 5).output();
          c.launch(stream -> stream.fill(c.tested().of(out), (byte) 1));
          c.settle(out);
          c.launch(stream -> stream.fill(c.tested().of(out), (byte) 2));
        },
        "input out was modified at [0]");
  }

  @Test
  void an_output_left_alone_is_called_unwritten() {
    fails(
        c -> {
          Operand out = c.tensor("out", DataType.F16, 2, 3).output();
          c.launch(stream -> stream.zero(c.tested().of(out).slice(0, 0, 1)));
          c.check(out, Expected.exact(new double[6]));
        },
        "out: 3 of 6 elements beyond the bound",
        "the element was never written",
        "all at index 1 of dimension 0");
  }

  @Test
  void what_a_case_leaves_open_fails_it() {
    fails(
        c -> {
          c.tested().device().allocate(DataType.F32, 2, 3);
          c.require(true, "");
        },
        "still open after the case: [tensor f32[2, 3]]");
  }

  @Test
  void a_case_that_checks_nothing_fails() {
    fails(c -> {}, "the case checked nothing");
  }

  @Test
  void a_case_that_does_not_end_ends_the_run() {
    ConformanceReport report =
        run(
            of("hangs", c -> new java.util.concurrent.CountDownLatch(1).await()),
            of("after", c -> c.require(true, "")));
    assertTrue(report.outcomes().getFirst().message().contains("did not end within 5 s"));
    assertTrue(report.outcomes().getFirst().message().contains("CountDownLatch.await"));
    assertEquals(CaseStatus.NOT_RUN, report.outcomes().getLast().status());
    assertFalse(report.passed());
  }

  @Test
  void cases_are_chosen_by_part_or_by_expression() {
    for (String filter : List.of("b+c", "test.op/f32/.*c#", "")) {
      try (ConformanceRun run =
          ConformanceRun.of(cpu)
              .catalogues(
                  List.of(() ->
                      java.util.stream.Stream.of(
                          of("b+c", c -> c.require(true, "")), of("bd", c -> c.require(true, "")))))
              .filter(filter)
              .open()) {
        assertEquals(filter.isEmpty() ? 2 : 1, run.cases().size(), filter);
      }
    }
  }

  @Test
  void reports_are_written_for_programs_and_for_people(@TempDir Path folder) throws IOException {
    ConformanceReport report =
        run(
            of("good", c -> c.require(true, "")),
            of("bad", c -> c.require(false, "<wrong> & \"so\"")),
            ConformanceCase.of("test.op", DataType.BF16, "N=1", "large", Family.LARGE)
                .profiles(Profile.LARGE)
                .runs(c -> c.require(true, "")));
    Path page = report.writeTo(folder.resolve("made"));
    String html = Files.readString(page, StandardCharsets.UTF_8);
    assertEquals("cpu.html", page.getFileName().toString());
    assertTrue(html.contains("&lt;wrong&gt; &amp; &quot;so&quot;"));
    assertTrue(html.contains("1 passed, 1 failed, 0 unsupported, 0 waived, 1 not run"));
    assertTrue(html.contains("test.op/bf16/N=1/large#large"));
    assertFalse(html.contains("src="), "the page needs something else");
    String json = Files.readString(folder.resolve("made/cpu.json"), StandardCharsets.UTF_8);
    assertTrue(json.contains("\"passed\" : false"), json);
    assertTrue(json.contains("\"NOT_RUN\" : 1"), json);
    assertTrue(json.contains("\"id\" : \"test.op/f32/good#ramp\""), json);
    try (java.util.stream.Stream<Path> files = Files.list(folder.resolve("made"))) {
      assertEquals(4, files.count(), "a part was left behind");
    }
  }

  @Test
  void build_servers_get_xml_whatever_a_message_holds(@TempDir Path folder) throws Exception {
    ConformanceReport report =
        run(
            of("good", c -> c.require(true, "")),
            of("bad", c -> c.require(false, "<wrong> \u0000\u001b[1m & \"so\"")));
    Path file = folder.resolve("junit.xml");
    report.writeJunit(file);
    Document xml = DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(file.toFile());
    Element suites = xml.getDocumentElement();
    assertEquals("2", suites.getAttribute("tests"));
    assertEquals("1", suites.getAttribute("failures"));
    Element failure = (Element) xml.getElementsByTagName("failure").item(0);
    assertTrue(failure.getTextContent().contains("<wrong> \ufffd\ufffd[1m & \"so\""));
    assertEquals("test.op/f32/bad#ramp", ((Element) failure.getParentNode()).getAttribute("name"));
  }

  @Test
  void a_waiver_names_a_case_and_can_go_when_that_passes() {
    ConformanceRun.Builder builder =
        ConformanceRun.of(cpu)
            .catalogues(
                List.of(() -> java.util.stream.Stream.of(of("good", c -> c.require(true, "")))));
    IllegalArgumentException e =
        assertThrows(
            IllegalArgumentException.class,
            () -> builder.waivers(Map.of("test.op/f32/gone#ramp", "a reason")).open());
    assertTrue(String.valueOf(e.getMessage()).contains("test.op/f32/gone#ramp"), e.getMessage());
    try (ConformanceRun run = builder.waivers(Map.of("test.op/f32/good#ramp", "a reason")).open()) {
      CaseOutcome outcome = run.execute(o -> {}).outcomes().getFirst();
      assertEquals(CaseStatus.PASS, outcome.status());
      assertEquals("passed, so its waiver can go: a reason", outcome.message());
    }
  }
}
