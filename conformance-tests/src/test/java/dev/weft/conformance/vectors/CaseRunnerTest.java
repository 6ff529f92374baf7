package dev.weft.conformance.vectors;

import static dev.weft.conformance.vectors.VectorAssertions.message;
import static dev.weft.conformance.vectors.VectorAssertions.tensor;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostTensor;
import dev.weft.Weft;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class CaseRunnerTest {
  private final Device device = Weft.open("reference");

  @AfterEach
  void close() {
    device.close();
  }

  @Test
  void everyExpectedOutputIsComputedAndNothingStaysOpen() {
    long before = device.memory().live();
    for (String name : GoldenVectors.names()) {
      CaseFile file = GoldenVectors.open(name);
      Set<String> outputs = CaseRunner.run(device, file).keySet();
      assertTrue(outputs.containsAll(file.expected().keySet()), name + ": " + outputs);
    }
    assertEquals(before, device.memory().live());
  }

  @Test
  void outputsHaveTheTypesOfTheSpecs() {
    Map<String, HostTensor> conv =
        CaseRunner.run(device, GoldenVectors.open("conv1d-w2-silu"), DataType.BF16);
    assertEquals("bf16[11, 130]", tensor(conv, "out").toString());
    assertEquals("bf16[6, 130, 1]", tensor(conv, "conv_states").toString());
    assertEquals("bf16[3, 130, 1]", tensor(conv, "dinitial_states").toString());
    assertEquals("f32[130, 2]", tensor(conv, "dweight").toString());
    Map<String, HostTensor> moba =
        CaseRunner.run(device, GoldenVectors.open("moba-mqa-d64-b16-k2-ragged"), DataType.F16);
    assertEquals("f16[113, 4, 64]", tensor(moba, "dq").toString());
    assertEquals("f32[113, 4]", tensor(moba, "lse").toString());
    assertEquals("i32[113, 4, 1]", tensor(moba, "selection").toString());
    Map<String, HostTensor> moe =
        CaseRunner.run(device, GoldenVectors.open("moe-bassrehab-softmax"), DataType.BF16);
    assertEquals("bf16[50, 64]", tensor(moe, "out").toString());
    assertEquals("f32[50, 2]", tensor(moe, "topk_weights").toString());
    assertEquals("i32[50, 2]", tensor(moe, "topk_ids").toString());
    assertEquals("f32[50, 8]", tensor(moe, "router_logits").toString());
  }

  @Test
  void withoutDoutThereAreNoGradients() {
    assertEquals(
        List.of("out", "lse"), List.copyOf(run("moba-single-block", Map.of(), "dout").keySet()));
    assertEquals(
        List.of("out", "conv_states"),
        List.copyOf(run("conv1d-w2-silu", Map.of(), "dout", "dfinal_states").keySet()));
    assertEquals(
        List.of("out", "topk_ids", "topk_weights", "router_logits"),
        List.copyOf(run("moe-mixtral", Map.of(), "dout").keySet()));
  }

  @Test
  void withoutStatesEverySequenceStartsFromZeros() {
    Map<String, HostTensor> outputs =
        run(
            "conv1d-w2-silu",
            Map.of(),
            "conv_states",
            "cache_indices",
            "has_initial_state",
            "dfinal_states");
    assertEquals(List.of("out", "dx", "dweight", "dbias"), List.copyOf(outputs.keySet()));
    HostTensor none = HostTensor.allocate(DataType.U8, 3);
    HostTensor slots = HostTensor.ofInts(new int[] {0, 1, 2}, 3);
    Map<String, HostTensor> zeros =
        run("conv1d-w2-silu", Map.of("has_initial_state", none, "cache_indices", slots));
    assertArrayEquals(tensor(zeros, "out").toDoubles(), tensor(outputs, "out").toDoubles());
  }

  @Test
  void paddingRowsHoldZeros() {
    CaseFile whole = GoldenVectors.open("moba-single-block");
    HostTensor q =
        HostTensor.ofFloats(DataType.F32, tensor(whole.inputs(), "q").toFloats(), 40, 2, 64);
    q.set(q.elements() - 1, Double.NaN);
    Map<String, HostTensor> outputs =
        run(
            "moba-single-block",
            Map.of("q", q, "cu_seqlens", HostTensor.ofInts(new int[] {0, 30}, 2)));
    HostTensor out = tensor(outputs, "out");
    HostTensor dq = tensor(outputs, "dq");
    for (long i = 0; i < out.elements(); i++) {
      boolean padding = i >= 30 * 2 * 64;
      assertTrue(Double.isFinite(out.get(i)) && (!padding || out.get(i) == 0), "out " + i);
      assertTrue(Double.isFinite(dq.get(i)) && (!padding || dq.get(i) == 0), "dq " + i);
    }
  }

  @Test
  void nothingIsAValidCase() {
    HostTensor noLengths = HostTensor.ofInts(new int[] {0}, 1);
    Map<String, HostTensor> moba = new LinkedHashMap<>();
    for (String name : List.of("q", "k", "v", "dout")) {
      moba.put(name, HostTensor.allocate(DataType.F32, 0, 2, 64));
    }
    moba.put("cu_seqlens", noLengths);
    assertEquals("f32[0, 2, 64]", tensor(run("moba-single-block", moba), "dk").toString());
    HostTensor rows = HostTensor.allocate(DataType.F32, 0, 64);
    Map<String, HostTensor> moe = run("moe-mixtral", Map.of("x", rows, "dout", rows));
    assertEquals(0, tensor(moe, "out").elements());
    for (double gradient : tensor(moe, "dw_down").toDoubles()) {
      assertEquals(0, gradient);
    }
  }

  @Test
  void raggedNewTokensGiveWhatEqualOnesDo() {
    CaseFile file = GoldenVectors.open("conv1d-update-w4-l3-wide-state");
    Map<String, HostTensor> equal = CaseRunner.run(device, file);
    HostTensor x = tensor(file.inputs(), "x");
    Map<String, HostTensor> ragged =
        run(
            file.name(),
            Map.of(
                "x",
                HostTensor.ofFloats(x.dataType(), x.toFloats(), 12, 40),
                "cu_seqlens",
                HostTensor.ofInts(new int[] {0, 3, 6, 9, 12}, 5)));
    assertArrayEquals(tensor(equal, "out").toDoubles(), tensor(ragged, "out").toDoubles());
    assertArrayEquals(
        tensor(equal, "conv_states").toDoubles(), tensor(ragged, "conv_states").toDoubles());
  }

  @Test
  void acceptedTokensSayWhereTheHistoryStarts() {
    // S = 6 columns of W = 4: three accepted tokens put the history at columns 2 to 4.
    Map<String, HostTensor> first =
        run(
            "conv1d-update-w4-l3-wide-state",
            Map.of("num_accepted", HostTensor.ofInts(new int[] {3, 3, 3, 3}, 4)));
    CaseFile file = GoldenVectors.open("conv1d-update-w4-l3-wide-state");
    HostTensor before = tensor(file.inputs(), "conv_states");
    HostTensor after = tensor(first, "conv_states");
    int slot = (int) tensor(file.inputs(), "cache_indices").get(0);
    long row = slot * 40L * 6;
    assertEquals(before.get(row + 3), after.get(row));
    assertEquals(before.get(row + 4), after.get(row + 1));
    assertEquals(tensor(file.inputs(), "x").get(0), after.get(row + 2));
  }

  @Test
  void givenLogitsGiveWhatTheRouterDoes() {
    CaseFile file = GoldenVectors.open("moe-bassrehab-sigmoid");
    Map<String, HostTensor> routed = CaseRunner.run(device, file);
    Map<String, HostTensor> given =
        run(file.name(), Map.of("router_logits", tensor(routed, "router_logits")), "router_weight");
    assertFalse(given.containsKey("router_logits"));
    assertArrayEquals(tensor(routed, "out").toDoubles(), tensor(given, "out").toDoubles());
    Map<String, HostTensor> ids =
        run(
            file.name(),
            Map.of(
                "topk_ids", tensor(routed, "topk_ids"),
                "topk_weights", tensor(routed, "topk_weights")),
            "router_weight");
    assertEquals(Set.of("out"), ids.keySet());
    assertArrayEquals(tensor(routed, "out").toDoubles(), tensor(ids, "out").toDoubles());
  }

  @Test
  void aTypeThatIsNotFloatingIsNamed() {
    CaseFile file = GoldenVectors.open("conv1d-w2-silu");
    assertEquals(
        "dtype: expected one of f32, f16, bf16, but was i32",
        message(
            assertThrows(
                IllegalArgumentException.class, () -> CaseRunner.run(device, file, DataType.I32))));
  }

  @Test
  void resultsSayWhereTheyComeFrom() {
    CaseFile file = GoldenVectors.open("conv1d-update-w4-l1");
    Safetensors results =
        CaseRunner.results(device, file, DataType.F32, CaseRunner.run(device, file));
    assertEquals("conv1d-update-w4-l1", results.metadata().get("case"));
    assertEquals("reference:0", results.metadata().get("backend"));
    assertEquals(Set.of("out", "conv_states"), results.tensors().keySet());
  }

  /** A golden vector with other inputs, and some left out, in f32. */
  private Map<String, HostTensor> run(
      String vector, Map<String, HostTensor> inputs, String... without) {
    CaseFile file = GoldenVectors.open(vector);
    Map<String, HostTensor> tensors = new LinkedHashMap<>(file.inputs());
    tensors.putAll(inputs);
    tensors.keySet().removeAll(List.of(without));
    return CaseRunner.run(
        device, CaseFile.of(vector, Safetensors.of(file.attributes(), tensors)), DataType.F32);
  }
}
