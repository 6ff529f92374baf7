package dev.weft.conformance.vectors;

import static dev.weft.conformance.vectors.VectorAssertions.message;
import static dev.weft.conformance.vectors.VectorAssertions.problem;
import static dev.weft.conformance.vectors.VectorAssertions.tensor;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.HostTensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;

class SafetensorsTest {
  @TempDir Path folder;

  @Test
  void whatWasWrittenIsReadAgain() throws IOException {
    Path file = folder.resolve("some.safetensors");
    Safetensors written = small();
    written.write(file);
    Safetensors read = Safetensors.read(file);
    assertEquals(written.metadata(), read.metadata());
    assertEquals(written.tensors().keySet(), read.tensors().keySet());
    written
        .tensors()
        .forEach((name, tensor) -> {
          HostTensor again = tensor(read.tensors(), name);
          assertEquals(tensor.toString(), again.toString());
          assertArrayEquals(tensor.toDoubles(), again.toDoubles());
        });
    assertEquals(List.of("some.safetensors"), list());
  }

  @Test
  void dataIsAlignedToItsElements() throws IOException {
    byte[] bytes = bytes(small());
    assertEquals(0, ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong() % 8);
    String header = new String(bytes, StandardCharsets.UTF_8);
    assertTrue(header.indexOf("\"f\"") < header.indexOf("\"flags\""), header);
  }

  @Test
  void aFileIsReplacedWhole() throws IOException {
    Path file = folder.resolve("some.safetensors");
    Files.writeString(file, "what was there before");
    small().write(file);
    assertEquals(4, Safetensors.read(file).tensors().size());
  }

  @Test
  void aTensorOfManyChunksIsWrittenWhole() throws IOException {
    HostTensor large = HostTensor.allocate(DataType.F32, 700_001);
    for (int i = 0; i < large.elements(); i++) {
      large.set(i, i);
    }
    Path file = folder.resolve("large.safetensors");
    Safetensors.of(Map.of(), Map.of("large", large)).write(file);
    assertArrayEquals(
        large.toDoubles(), tensor(Safetensors.read(file).tensors(), "large").toDoubles());
  }

  @Test
  void aFailedWriteLeavesWhatWasThereAndNothingElse() throws IOException {
    Path file = folder.resolve("some.safetensors");
    Files.writeString(file, "what was there before");
    HostTensor lost;
    try (Arena arena = Arena.ofConfined()) {
      lost = HostTensor.allocate(arena, DataType.F32, 8);
    }
    Safetensors broken =
        Safetensors.of(Map.of(), Map.of("a", HostTensor.allocate(DataType.F32, 4), "z", lost));
    assertThrows(IllegalStateException.class, () -> broken.write(file));
    assertEquals("what was there before", Files.readString(file));
    assertEquals(List.of("some.safetensors"), list());
  }

  @Test
  void aFileThatCannotBeWrittenIsNamed() throws IOException {
    Path noFolder = folder.resolve("none").resolve("some.safetensors");
    IOException missing = assertThrows(IOException.class, () -> small().write(noFolder));
    assertEquals(
        noFolder + ": could not be written: no such directory: " + folder.resolve("none"),
        missing.getMessage());
    Path taken = Files.createDirectory(folder.resolve("taken"));
    IOException directory = assertThrows(IOException.class, () -> small().write(taken));
    assertEquals(
        taken + ": could not be written: it is there, and is no regular file",
        directory.getMessage());
    assertEquals(List.of("taken"), list());
  }

  @Test
  void aMissingFileIsNamed() {
    Path file = folder.resolve("none.safetensors");
    assertProblem(
        file + ": expected a safetensors file, but there is no such file",
        () -> Safetensors.read(file));
    assertProblem(
        folder + ": expected a regular file, but it is a directory",
        () -> Safetensors.read(folder));
  }

  @Test
  void everyTruncationIsFound() throws IOException {
    byte[] whole = bytes(small());
    Path file = folder.resolve("cut.safetensors");
    for (int length = 0; length < whole.length; length++) {
      byte[] cut = Arrays.copyOf(whole, length);
      String message = problem(() -> parse(cut));
      assertTrue(message.startsWith("test: ") && message.contains("expected"), message);
    }
    for (int length : new int[] {0, 7, 8, 20, whole.length - 1}) {
      Files.write(file, Arrays.copyOf(whole, length));
      String message = problem(() -> Safetensors.read(file));
      assertTrue(message.startsWith(file + ": ") && message.contains("truncated"), message);
    }
    byte[] longer = Arrays.copyOf(whole, whole.length + 1);
    assertProblem(
        "test: data: the header describes 47 bytes, but the file has 48", () -> parse(longer));
  }

  @Test
  void corruptionGivesTheClearErrorOrAReadableFile() throws IOException {
    byte[] whole = bytes(small());
    SplittableRandom random = new SplittableRandom(20_260_101);
    int found = 0;
    for (int round = 0; round < 2000; round++) {
      byte[] damaged = whole.clone();
      int changes = 1 + random.nextInt(4);
      for (int i = 0; i < changes; i++) {
        int at = random.nextInt(damaged.length);
        damaged[at] =
            random.nextBoolean()
                ? (byte) random.nextInt(256)
                : damaged[random.nextInt(damaged.length)];
      }
      try {
        for (HostTensor tensor : parse(damaged).tensors().values()) {
          assertEquals(tensor.elements(), tensor.toDoubles().length);
        }
      } catch (VectorFormatException e) {
        found++;
        assertTrue(message(e).startsWith("test: "), e.getMessage());
        assertEquals(1, message(e).lines().count(), e.getMessage());
      }
    }
    assertTrue(found > 500, "only " + found + " of 2000 were found");
  }

  @Test
  void aHeaderLengthOutOfRangeIsFound() {
    for (long length : new long[] {0, 1, 100_000_001, Long.MAX_VALUE, -1, Long.MIN_VALUE}) {
      byte[] bytes = file("{}", 0);
      ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putLong(length);
      String message = problem(() -> parse(bytes));
      assertTrue(message.startsWith("test: header length: expected 2 to 100000000"), message);
    }
  }

  @Test
  void aHeaderThatIsNoObjectIsFound() {
    assertHeader("header: expected a JSON object that starts with '{'", "[]", 0);
    assertHeader("header: expected a JSON object that starts with '{'", " {}", 0);
    assertHeader("header: expected JSON, but: ", "{\"a\": nonsense}", 0);
    assertHeader("header: expected JSON, but: ", "{\"a\"", 0);
    assertHeader("header: expected nothing but spaces", "{}{}", 0);
    assertHeader("header: 'a': expected an object", "{\"a\": 1}", 0);
    assertEquals(0, parse(file("{}   ", 0)).tensors().size());
  }

  @Test
  void anEntryThatSaysTooLittleOrTooMuchIsFound() {
    assertHeader(
        "tensor 'a': expected dtype, shape and data_offsets, but there is no dtype",
        "{\"a\": {\"shape\": [1], \"data_offsets\": [0, 4]}}",
        4);
    assertHeader(
        "tensor 'a': expected dtype, shape and data_offsets, but there is no shape",
        "{\"a\": {\"dtype\": \"F32\", \"data_offsets\": [0, 4]}}",
        4);
    assertHeader(
        "tensor 'a': expected dtype, shape and data_offsets, but there is no data_offsets",
        "{\"a\": {\"dtype\": \"F32\", \"shape\": [1]}}",
        4);
    assertHeader(
        "tensor 'a': expected dtype, shape and data_offsets, but was 'more'",
        "{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4], \"more\": 1}}",
        4);
    assertHeader(
        "header: expected JSON, but: Duplicate field 'a'",
        "{" + entry("a", "F32", "[1]", 0, 4) + ", " + entry("a", "F32", "[1]", 4, 8) + "}",
        8);
    assertHeader("header: attribute 'op': expected a string", "{\"__metadata__\": {\"op\": 7}}", 0);
  }

  @Test
  void aTypeThatIsNotKnownIsFound() {
    assertHeader(
        "tensor 'a': dtype: expected one of [F32, F16, BF16, I32, U8], but was F64",
        "{" + entry("a", "F64", "[1]", 0, 8) + "}",
        8);
    assertHeader(
        "tensor 'a': dtype: expected one of [F32, F16, BF16, I32, U8], but was f32",
        "{" + entry("a", "f32", "[1]", 0, 4) + "}",
        4);
  }

  @Test
  void aShapeThatIsNoneIsFound() {
    for (String shape : List.of("[-1]", "[1.5]", "[\"1\"]", "[99999999999999999999]", "[[1]]")) {
      assertHeader(
          "tensor 'a': shape: expected integers from 0 to 9223372036854775807",
          "{" + entry("a", "F32", shape, 0, 4) + "}",
          4);
    }
    assertHeader(
        "header: tensor 'a': shape: expected an array",
        "{" + entry("a", "F32", "3", 0, 4) + "}",
        4);
    for (String shape :
        List.of(
            "[9223372036854775807]", "[4294967296, 4294967296]", "[0, 4294967296, 4294967296]")) {
      assertHeader(
          "tensor 'a': shape: expected at most 2^63 - 1 bytes",
          "{" + entry("a", "F32", shape, 0, 0) + "}",
          0);
    }
  }

  @Test
  void offsetsThatDoNotFitAreFound() {
    assertHeader(
        "tensor 'a': data_offsets: expected the 8 bytes of f32[2], but was 4",
        "{" + entry("a", "F32", "[2]", 0, 4) + "}",
        4);
    assertHeader(
        "tensor 'a': data_offsets: expected [begin, end], but was [4, 0]",
        "{" + entry("a", "F32", "[1]", 4, 0) + "}",
        4);
    assertHeader(
        "tensor 'a': data_offsets: expected [begin, end], but was [0]",
        "{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0]}}",
        4);
    assertHeader(
        "tensor 'b': data_offsets: expected to begin at byte 8, where the one before it ends, but"
            + " was 4 (overlap)",
        "{" + entry("a", "F32", "[2]", 0, 8) + ", " + entry("b", "F32", "[2]", 4, 12) + "}",
        12);
    assertHeader(
        "tensor 'b': data_offsets: expected to begin at byte 4, where the one before it ends, but"
            + " was 8 (hole)",
        "{" + entry("a", "F32", "[1]", 0, 4) + ", " + entry("b", "F32", "[1]", 8, 12) + "}",
        12);
    assertHeader(
        "tensor 'a': data_offsets: expected an end within the file's 7 bytes of data, but was 8; the"
            + " file is truncated",
        "{" + entry("a", "F32", "[2]", 0, 8) + "}",
        7);
    assertHeader(
        "data: the header describes 4 bytes, but the file has 9",
        "{" + entry("a", "F32", "[1]", 0, 4) + "}",
        9);
    assertHeader("data: the header describes 0 bytes, but the file has 1", "{}", 1);
  }

  @Test
  void namesInErrorsKeepToOneLine() {
    byte[] bytes = file("{" + entry("a\\nb\\u001b[2J", "F64", "[1]", 0, 8) + "}", 8);
    String message = problem(() -> parse(bytes));
    assertTrue(message.startsWith("test: tensor 'a?b?[2J'"), message);
  }

  @Test
  void emptyAndScalarTensorsAreLegal() {
    Safetensors read =
        parse(
            file(
                "{"
                    + entry("none", "F32", "[0, 3]", 0, 0)
                    + ", "
                    + entry("one", "F32", "[]", 0, 4)
                    + "}",
                4));
    assertEquals(0, tensor(read.tensors(), "none").elements());
    assertEquals(1, tensor(read.tensors(), "one").elements());
  }

  private static Safetensors small() {
    Map<String, HostTensor> tensors = new LinkedHashMap<>();
    tensors.put("flags", HostTensor.allocate(DataType.U8, 3));
    tensors.put("f", HostTensor.ofFloats(DataType.F32, new float[] {1, -2, 3, 4, 5, 6}, 2, 3));
    tensors.put("half", HostTensor.ofFloats(DataType.BF16, new float[] {1, -2, 0.5f, 4}, 4));
    tensors.put("ids", HostTensor.ofInts(new int[] {7, -1, 3}, 3, 1));
    Map<String, String> metadata = new LinkedHashMap<>();
    metadata.put("op", "none");
    metadata.put("quoted", "a \"b\" \u00e9\n");
    return Safetensors.of(metadata, tensors);
  }

  private byte[] bytes(Safetensors content) throws IOException {
    Path file = folder.resolve("bytes");
    content.write(file);
    byte[] bytes = Files.readAllBytes(file);
    Files.delete(file);
    return bytes;
  }

  private static Safetensors parse(byte[] bytes) {
    return Safetensors.parse("test", MemorySegment.ofArray(bytes));
  }

  private static String entry(String name, String dtype, String shape, long begin, long end) {
    return "\"%s\": {\"dtype\": \"%s\", \"shape\": %s, \"data_offsets\": [%d, %d]}"
        .formatted(name, dtype, shape, begin, end);
  }

  private static byte[] file(String header, int dataBytes) {
    byte[] json = header.getBytes(StandardCharsets.UTF_8);
    MemorySegment file = MemorySegment.ofArray(new byte[8 + json.length + dataBytes]);
    file.set(
        ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN), 0, (long) json.length);
    MemorySegment.copy(json, 0, file, ValueLayout.JAVA_BYTE, 8, json.length);
    return file.toArray(ValueLayout.JAVA_BYTE);
  }

  private static void assertHeader(String problem, String header, int dataBytes) {
    String message = problem(() -> parse(file(header, dataBytes)));
    assertTrue(message.startsWith("test: " + problem), message);
    assertFalse(message.contains("\n"), message);
  }

  private static void assertProblem(String message, Executable executable) {
    assertEquals(message, problem(executable));
  }

  private List<String> list() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return new ArrayList<>(files.map(f -> String.valueOf(f.getFileName())).sorted().toList());
    }
  }
}
