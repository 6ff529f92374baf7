package dev.weft.conformance.vectors;

import static dev.weft.conformance.vectors.VectorAssertions.message;
import static dev.weft.conformance.vectors.VectorAssertions.problem;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moe.ExpertActivation;
import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.RouterSpec;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CaseFileTest {
  @TempDir Path folder;

  @Test
  void theNameIsTheFilesWithoutItsExtension() {
    Safetensors content = edited("conv1d-w2-silu", c -> {});
    assertEquals("a.b", CaseFile.of("some/where/a.b.safetensors", content).name());
    assertEquals("plain", CaseFile.of("plain", content).name());
    assertEquals(".hidden", CaseFile.of("x/.hidden", content).name());
  }

  @Test
  void attributesAndTensorsBecomeASpec() {
    MoeDispatchSpec moe =
        (MoeDispatchSpec) GoldenVectors.open("moe-deepseek-v3").spec(DataType.BF16);
    assertEquals(RouterSpec.GroupScore.TOP2_SUM, moe.router().groupScore());
    assertEquals(8, moe.router().groups());
    assertEquals(3, moe.router().topkGroups());
    assertEquals(2.5f, moe.router().scalingFactor());
    assertEquals(1e-20f, moe.router().epsilon());
    assertTrue(moe.router().correctionBias());
    assertEquals(32, moe.sharedIntermediate());
    assertEquals(DataType.F32, moe.gradientType());
    MoeDispatchSpec oss = (MoeDispatchSpec) GoldenVectors.open("moe-gpt-oss").spec(DataType.F32);
    assertEquals(ExpertActivation.SWIGLU_CLAMPED, oss.activation());
    assertEquals(GateUpLayout.INTERLEAVED, oss.gateUpLayout());
    assertEquals(7f, oss.swigluLimit());
    assertTrue(oss.expertBias() && oss.router().routerBias());
    MobaAttentionSpec moba =
        (MobaAttentionSpec) GoldenVectors.open("moba-gqa-d128-b32-k4").spec(DataType.F32);
    assertEquals(4, moba.heads());
    assertEquals(2, moba.kvHeads());
    assertEquals(128, moba.headDim());
    assertEquals(4, moba.topK());
    assertEquals(0.088388346f, moba.scale());
    CausalConv1dSpec conv =
        (CausalConv1dSpec) GoldenVectors.open("conv1d-w3-none-nobias").spec(DataType.F32);
    assertEquals(3, conv.width());
    assertEquals(24, conv.channels());
    assertTrue(!conv.bias());
  }

  @Test
  void aMissingFileIsNamed() {
    assertEquals(
        "none.safetensors: expected a safetensors file, but there is no such file",
        problem(() -> CaseFile.read(Path.of("none.safetensors"))));
  }

  @Test
  void aMissingAttributeIsNamed() {
    for (String attribute : new String[] {"format", "op", "dtype", "block_size", "top_k"}) {
      assertProblem(
          "attribute " + attribute + ": expected one, but there is none; the file has [",
          "moba-single-block",
          c -> c.attributes.remove(attribute));
    }
    assertProblem(
        "attribute swiglu_limit: expected one",
        "moe-gpt-oss",
        c -> c.attributes.remove("swiglu_limit"));
    assertProblem(
        "attribute group_score: expected one",
        "moe-deepseek-v3",
        c -> c.attributes.remove("group_score"));
  }

  @Test
  void anAttributeOfAnUnknownValueIsNamed() {
    assertAttribute("format", "weft-case-2", "expected weft-case-1, but was 'weft-case-2'");
    assertAttribute("dtype", "f64", "expected one of [bf16, f16, f32], but was 'f64'");
    assertAttribute(
        "op",
        "softmax",
        "expected one of [moba_attention, causal_conv1d, causal_conv1d_update, moe_dispatch], but"
            + " was 'softmax'");
    assertAttribute("block_size", "0", "expected an integer of at least 1, but was '0'");
    assertAttribute("block_size", "12x", "expected an integer of at least 1, but was '12x'");
    assertAttribute("top_k", "99999999999", "expected an integer of at least 1");
    assertAttribute("scale", "inf", "expected a finite number, but was 'inf'");
    assertAttribute("scale", "1e99", "expected a finite number, but was '1e99'");
    assertProblem(
        "attribute activation: expected one of [none, silu], but was 'gelu'",
        "conv1d-w2-silu",
        c -> c.attributes.put("activation", "gelu"));
    assertProblem(
        "attribute score: expected one of [identity, sigmoid, softmax], but was 'tanh'",
        "moe-qwen3",
        c -> c.attributes.put("score", "tanh"));
    assertProblem(
        "router: groups: expected 1 <= topkGroups <= groups",
        "moe-deepseek-v3",
        c -> c.attributes.put("topk_group", "9"));
    assertProblem(
        "moe.dispatch: topK: expected at most experts=32",
        "moe-qwen3",
        c -> c.attributes.put("top_k", "33"));
  }

  @Test
  void aMissingTensorIsNamed() {
    for (String vector : GoldenVectors.names()) {
      for (String tensor : GoldenVectors.open(vector).inputs().keySet()) {
        Safetensors without = edited(vector, c -> c.tensors.remove(tensor));
        try {
          CaseFile file = CaseFile.of("without", without);
          assertTrue(!file.inputs().containsKey(tensor));
        } catch (VectorFormatException e) {
          String message = message(e);
          assertTrue(message.startsWith("without: "), message);
          assertTrue(message.contains(tensor), message);
        }
      }
    }
    assertProblem(
        "tensor k: expected one of shape [T,Hkv,D], but there is none; the inputs are [cu_seqlens,"
            + " dout, q, v]",
        "moba-single-block",
        c -> c.tensors.remove("k"));
    assertProblem(
        "tensor b_down: expected both or none", "moe-gpt-oss", c -> c.tensors.remove("b_down"));
    assertProblem(
        "tensor dout: expected one, as there is dfinal_states",
        "conv1d-w2-silu",
        c -> c.tensors.remove("dout"));
  }

  @Test
  void aTensorOfAnotherShapeIsNamed() {
    assertProblem(
        "tensor v [T,Hkv,Dv]: expected f32, f16 or bf16[40, 2, any], but was bf16[40, 3, 64]",
        "moba-single-block",
        c -> c.tensors.put("v", HostTensor.allocate(DataType.BF16, 40, 3, 64)));
    assertProblem(
        "tensor q [T,H,D]: expected f32, f16 or bf16[any, any, any], but was bf16[40, 64]",
        "moba-single-block",
        c -> c.tensors.put("q", HostTensor.allocate(DataType.BF16, 40, 64)));
    assertProblem(
        "moba.attention: heads: expected a multiple of kvHeads=2",
        "moba-single-block",
        c -> {
          c.tensors.put("q", HostTensor.allocate(DataType.BF16, 40, 3, 64));
          c.tensors.put("dout", HostTensor.allocate(DataType.BF16, 40, 3, 64));
        });
    assertProblem(
        "tensor w_gate_up [E,2I,H]: expected f32, f16 or bf16[32, 64, 48], but was bf16[32, 63,"
            + " 48]",
        "moe-qwen3",
        c -> c.tensors.put("w_gate_up", HostTensor.allocate(DataType.BF16, 32, 63, 48)));
    assertProblem(
        "tensor conv_states [slots,C,S]: expected S of at least 3, the width less 1",
        "conv1d-update-w4-l1",
        c -> c.tensors.put("conv_states", HostTensor.allocate(DataType.BF16, 10, 64, 2)));
  }

  @Test
  void anExtentBeyondWhatCanBeAddressedIsNamed() {
    assertProblem(
        "tensor q [T,H,D]: expected extents below 2^31, but was bf16[0, 4294967296, 64]",
        "moba-single-block",
        c -> c.tensors.put("q", HostTensor.allocate(DataType.BF16, 0, 1L << 32, 64)));
  }

  @Test
  void aTensorOfAnotherTypeIsNamed() {
    assertProblem(
        "tensor q [T,H,D]: expected f32, f16 or bf16[any, any, any], but was i32[40, 2, 64]",
        "moba-single-block",
        c -> c.tensors.put("q", HostTensor.allocate(DataType.I32, 40, 2, 64)));
    assertProblem(
        "tensor has_initial_state [B]: expected u8[3], but was i32[3]",
        "conv1d-w2-silu",
        c -> c.tensors.put("has_initial_state", HostTensor.allocate(DataType.I32, 3)));
  }

  @Test
  void lengthsThatDoNotFitAreNamed() {
    assertProblem(
        "tensor cu_seqlens[1]: expected 0 to 40, the rows of x or q, but was 41",
        "moba-single-block",
        c -> c.tensors.put("cu_seqlens", HostTensor.ofInts(new int[] {0, 41}, 2)));
    assertProblem(
        "tensor cu_seqlens[2]: expected 30 to 40, the rows of x or q, but was 20",
        "moba-single-block",
        c -> c.tensors.put("cu_seqlens", HostTensor.ofInts(new int[] {0, 30, 20}, 3)));
    assertProblem(
        "tensor cu_seqlens[0]: expected 0, but was 1",
        "moba-single-block",
        c -> c.tensors.put("cu_seqlens", HostTensor.ofInts(new int[] {1, 30}, 2)));
    assertProblem(
        "tensor cu_seqlens: expected at least one element",
        "moba-single-block",
        c -> c.tensors.put("cu_seqlens", HostTensor.ofInts(new int[0], 0)));
    assertProblem(
        "tensor cache_indices: expected distinct slots, but slot 4 is given twice",
        "conv1d-w2-silu",
        c -> c.tensors.put("cache_indices", HostTensor.ofInts(new int[] {4, -1, 4}, 3)));
  }

  @Test
  void aTensorThatIsNotKnownIsNamed() {
    assertProblem(
        "tensor biass: expected one of the inputs [bias, cache_indices, cache_seqlens,"
            + " conv_states, cu_seqlens, dfinal_states, dout, has_initial_state, weight, x] of"
            + " causal_conv1d, or a name that starts with 'expected.'",
        "conv1d-w2-silu",
        c -> c.tensors.put("biass", HostTensor.allocate(DataType.F32, 130)));
  }

  @Test
  void aDamagedHeaderGivesTheClearErrorOrACase() throws IOException {
    SplittableRandom random = new SplittableRandom(20_260_102);
    int cases = 0;
    int errors = 0;
    for (String vector : GoldenVectors.names()) {
      Path file = folder.resolve(vector);
      edited(vector, c -> {}).write(file);
      byte[] whole = Files.readAllBytes(file);
      int header = 8 + ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN).getInt();
      for (int round = 0; round < 100; round++) {
        byte[] damaged = whole.clone();
        // Digits stay digits and letters letters, or hardly any header would stay JSON.
        int at = 8 + random.nextInt(header - 8);
        char was = (char) damaged[at];
        damaged[at] =
            (byte)
                (Character.isDigit(was)
                    ? '0' + random.nextInt(10)
                    : Character.isLetter(was) ? 'a' + random.nextInt(26) : random.nextInt(128));
        try {
          CaseFile.of(vector, Safetensors.parse(vector, MemorySegment.ofArray(damaged)));
          cases++;
        } catch (VectorFormatException e) {
          errors++;
          assertTrue(message(e).startsWith(vector + ": "), message(e));
          assertEquals(1, message(e).lines().count(), message(e));
        }
      }
    }
    assertTrue(cases > 100 && errors > 1000, cases + " cases, " + errors + " errors");
  }

  /** What a test changes of a golden vector. */
  private record Content(Map<String, String> attributes, Map<String, HostTensor> tensors) {}

  private static Safetensors edited(String vector, Consumer<Content> edit) {
    CaseFile file = GoldenVectors.open(vector);
    Map<String, HostTensor> tensors = new LinkedHashMap<>(file.inputs());
    file.expected().forEach((name, tensor) -> tensors.put("expected." + name, tensor));
    Content content = new Content(new TreeMap<>(file.attributes()), tensors);
    edit.accept(content);
    return Safetensors.of(content.attributes, content.tensors);
  }

  private static void assertAttribute(String name, String value, String problem) {
    assertProblem(
        "attribute " + name + ": " + problem,
        "moba-single-block",
        c -> c.attributes.put(name, value));
  }

  private static void assertProblem(String problem, String vector, Consumer<Content> edit) {
    Safetensors content = edited(vector, edit);
    String message = problem(() -> CaseFile.of("a/file", content));
    assertTrue(message.startsWith("a/file: " + problem), message);
  }
}
