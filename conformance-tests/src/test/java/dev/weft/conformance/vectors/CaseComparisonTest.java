package dev.weft.conformance.vectors;

import static dev.weft.conformance.vectors.VectorAssertions.problem;
import static dev.weft.conformance.vectors.VectorAssertions.tensor;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.HostTensor;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class CaseComparisonTest {
  private static final String VECTOR = "moe-bassrehab-softmax";

  @Test
  void whatIsExpectedPasses() {
    CaseFile file = GoldenVectors.open(VECTOR);
    CaseComparison comparison = CaseComparison.of(file, DataType.F32, copies(file));
    assertTrue(comparison.passed(), comparison.toString());
    assertEquals(4, comparison.outputs().size());
    assertTrue(comparison.outputs().stream().allMatch(o -> o.maxError() == 0));
  }

  @Test
  void aFloatBeyondItsBoundFailsAndIsNamed() {
    CaseFile file = GoldenVectors.open(VECTOR);
    Map<String, HostTensor> got = copies(file);
    HostTensor out = tensor(got, "out");
    double e = out.get(70);
    out.set(70, e + 0.9e-5 * (1 + Math.abs(e)));
    assertTrue(CaseComparison.of(file, DataType.F32, got).passed());
    out.set(70, e + 1.1e-5 * (1 + Math.abs(e)));
    CaseComparison failed = CaseComparison.of(file, DataType.F32, got);
    assertFalse(failed.passed());
    CaseComparison.Output output = failed.outputs().getFirst();
    assertEquals("out", output.name());
    assertEquals(70, output.worst());
    assertEquals("[1, 6]", output.position());
    assertEquals(1, output.wrong());
    assertEquals(e, output.expected());
    assertTrue(
        output.toString().startsWith("out: 1 of 3200 wrong by |x-e| <= 1e-5 (1+|e|): max error"),
        output.toString());
  }

  @Test
  void aHalfPrecisionCaseAllowsItsRoundingAndNoMore() {
    CaseFile file = GoldenVectors.open("moba-bf16-d128-b32-k3");
    Map<String, HostTensor> got = inF32(file);
    for (DataType type : List.of(DataType.F32, DataType.F16, DataType.BF16)) {
      double e = tensor(file.expected(), "dk").get(7);
      tensor(got, "dk").set(7, e + 0.0099 + Math.abs(e) / 128);
      assertTrue(CaseComparison.of(file, type, got).passed());
      tensor(got, "dk").set(7, e + 0.0101 + Math.abs(e) / 128);
      CaseComparison failed = CaseComparison.of(file, type, got);
      assertFalse(failed.passed());
      assertTrue(failed.outputs().stream().allMatch(o -> o.rule() == CaseComparison.Rule.HALF));
    }
  }

  @Test
  void aRunInACoarserTypeThanTheCasesIsComparedAsAWhole() {
    CaseFile file = GoldenVectors.open(VECTOR);
    Map<String, HostTensor> got = copies(file);
    HostTensor out = tensor(got, "out");
    out.set(70, out.get(70) + 0.5);
    CaseComparison one = CaseComparison.of(file, DataType.BF16, got);
    assertTrue(one.passed(), one.toString());
    assertEquals(0, one.outputs().getFirst().wrong());
    assertTrue(one.outputs().getFirst().share() > 0);
    for (long i = 0; i < out.elements(); i++) {
      out.set(i, out.get(i) * 1.125 + 0.01);
    }
    assertFalse(CaseComparison.of(file, DataType.BF16, got).passed());
    Map<String, HostTensor> broken = copies(file);
    tensor(broken, "out").set(3, Double.NaN);
    assertFalse(CaseComparison.of(file, DataType.BF16, broken).passed());
  }

  @Test
  void anIntegerThatDiffersFails() {
    CaseFile file = GoldenVectors.open(VECTOR);
    Map<String, HostTensor> got = copies(file);
    HostTensor ids = tensor(got, "topk_ids");
    ids.set(3, ids.get(3) + 1);
    assertFalse(CaseComparison.of(file, DataType.F32, got).passed());
    assertFalse(CaseComparison.of(file, DataType.BF16, got).passed());
  }

  @Test
  void aStateThatDiffersInItsLastBitFails() {
    CaseFile file = GoldenVectors.open("conv1d-w2-silu");
    Map<String, HostTensor> got = copies(file);
    HostTensor states = tensor(got, "conv_states");
    states.set(5, Math.nextUp((float) states.get(5)));
    CaseComparison comparison = CaseComparison.of(file, DataType.F32, got);
    assertFalse(comparison.passed());
    assertEquals(1, comparison.outputs().stream().mapToLong(CaseComparison.Output::wrong).sum());
  }

  @Test
  void nanFailsUnlessItIsExpected() {
    CaseFile file = GoldenVectors.open(VECTOR);
    Map<String, HostTensor> got = copies(file);
    tensor(got, "out").set(9, Double.NaN);
    CaseComparison comparison = CaseComparison.of(file, DataType.F32, got);
    assertFalse(comparison.passed());
    assertEquals(9, comparison.outputs().getFirst().worst());
    assertTrue(Double.isNaN(comparison.outputs().getFirst().maxError()));
    tensor(got, "out").set(9, Double.POSITIVE_INFINITY);
    assertFalse(CaseComparison.of(file, DataType.F32, got).passed());

    CaseFile strange = expecting(file, Map.of("out", withNan(tensor(file.expected(), "out"))));
    Map<String, HostTensor> same = new HashMap<>();
    same.put("out", withNan(tensor(file.expected(), "out")));
    assertTrue(CaseComparison.of(strange, DataType.F32, same).passed());
    assertFalse(CaseComparison.of(strange, DataType.F32, copies(file)).passed());
  }

  @Test
  void expectedTensorsThatDoNotFitAreNamed() {
    CaseFile file = GoldenVectors.open(VECTOR);
    assertProblem(
        "tensor expected.dx: expected one of the outputs",
        expecting(file, Map.of("dx", HostTensor.allocate(DataType.F32, 50, 64))),
        copies(file));
    assertProblem(
        "tensor expected.out: expected f32[50, 64], but was f32[50, 65]",
        expecting(file, Map.of("out", HostTensor.allocate(DataType.F32, 50, 65))),
        copies(file));
    assertProblem(
        "tensor expected.topk_ids: expected i32[50, 2], but was f32[50, 2]",
        expecting(file, Map.of("topk_ids", HostTensor.allocate(DataType.F32, 50, 2))),
        copies(file));
    assertProblem(
        "tensors: expected some named expected.*", expecting(file, Map.of()), copies(file));
  }

  private static void assertProblem(String problem, CaseFile file, Map<String, HostTensor> got) {
    String message = problem(() -> CaseComparison.of(file, DataType.F32, got));
    assertTrue(message.startsWith("some: " + problem), message);
  }

  private static CaseFile expecting(CaseFile file, Map<String, HostTensor> expected) {
    Map<String, HostTensor> tensors = new LinkedHashMap<>(file.inputs());
    expected.forEach((name, tensor) -> tensors.put("expected." + name, tensor));
    return CaseFile.of("some", Safetensors.of(file.attributes(), tensors));
  }

  private static HostTensor withNan(HostTensor tensor) {
    HostTensor copy = copy(tensor);
    copy.set(9, Double.NaN);
    return copy;
  }

  private static Map<String, HostTensor> inF32(CaseFile file) {
    Map<String, HostTensor> copies = new LinkedHashMap<>();
    file.expected().forEach((name, tensor) -> copies.put(name, tensor.to(DataType.F32)));
    return copies;
  }

  private static Map<String, HostTensor> copies(CaseFile file) {
    Map<String, HostTensor> copies = new LinkedHashMap<>();
    file.expected().forEach((name, tensor) -> copies.put(name, copy(tensor)));
    return copies;
  }

  private static HostTensor copy(HostTensor tensor) {
    HostTensor copy = HostTensor.allocate(tensor.dataType(), tensor.shape());
    for (long i = 0; i < tensor.elements(); i++) {
      copy.set(i, tensor.get(i));
    }
    return copy;
  }
}
