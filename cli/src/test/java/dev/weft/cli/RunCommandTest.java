package dev.weft.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.DataType;
import dev.weft.conformance.vectors.Safetensors;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RunCommandTest {
  @TempDir Path folder;
  private Path out;

  @BeforeEach
  void nameTheOutputFolder() {
    out = folder.resolve("some/where");
  }

  @Test
  void everyOutputIsWrittenUnderTheCasesName() throws IOException {
    CommandLineRun run = run(Cases.golden(folder, Cases.CONV));
    assertEquals(0, run.code(), run::toString);
    assertEquals("", run.err());
    run.isPlain();
    assertEquals(List.of(Cases.CONV + ".safetensors"), files());
    Safetensors written = Safetensors.read(out.resolve(Cases.CONV + ".safetensors"));
    assertEquals(
        Set.of("out", "conv_states", "dx", "dweight", "dinitial_states"),
        written.tensors().keySet());
    assertEquals(DataType.F32, type(written, "out"));
  }

  @Test
  void theTypeCanBeChosen() throws IOException {
    CommandLineRun run = run(Cases.golden(folder, Cases.CONV), "--dtype", "bf16");
    assertEquals(0, run.code(), run::toString);
    Safetensors written = Safetensors.read(out.resolve(Cases.CONV + ".safetensors"));
    assertEquals(DataType.BF16, type(written, "out"));
    assertEquals(DataType.F32, type(written, "dweight"), "parameter gradients stay F32");
  }

  @Test
  void aMissingFileIsOneLineAndLeavesNothing() throws IOException {
    run(folder.resolve("nix.safetensors")).failedWithOneLine(2, "nix.safetensors", "no such file");
    assertEquals(List.of(), files());
  }

  @Test
  void aTruncatedFileIsOneLineAndLeavesNothing() throws IOException {
    run(Cases.truncated(folder)).failedWithOneLine(2, "truncated.safetensors", "expected");
    assertEquals(List.of(), files());
  }

  @Test
  void aFileOfAnotherKindIsOneLine() throws IOException {
    Path text = Files.writeString(folder.resolve("text.safetensors"), "not a tensor in sight\n");
    run(text).failedWithOneLine(2, "text.safetensors");
    run(folder).failedWithOneLine(2, String.valueOf(folder.getFileName()));
  }

  @Test
  void aFailedCaseDoesNotStopTheRestAndTheHighestCodeCounts() throws IOException {
    CommandLineRun run =
        run(
            Cases.truncated(folder),
            folder.resolve("nix.safetensors").toString(),
            Cases.golden(folder, Cases.CONV).toString());
    assertEquals(2, run.code(), run::toString);
    assertEquals(2, run.errLines().size(), run.err());
    run.namesOnLine(0, "truncated.safetensors");
    run.namesOnLine(1, "nix.safetensors");
    assertEquals(List.of(Cases.CONV + ".safetensors"), files());
  }

  @Test
  void anOlderFileIsReplacedWhole() throws IOException {
    Path file = Cases.golden(folder, Cases.CONV);
    run(file);
    byte[] first = Files.readAllBytes(out.resolve(Cases.CONV + ".safetensors"));
    Files.writeString(out.resolve(Cases.CONV + ".safetensors"), "old");
    assertEquals(0, run(file).code());
    assertArrayEquals(first, Files.readAllBytes(out.resolve(Cases.CONV + ".safetensors")));
    assertEquals(List.of(Cases.CONV + ".safetensors"), files());
  }

  @Test
  void twoCasesOfOneNameAreRefusedBeforeAnyIsRun() throws IOException {
    Path other = Files.createDirectory(folder.resolve("other"));
    run(Cases.golden(folder, Cases.CONV), Cases.golden(other, Cases.CONV).toString())
        .failedWithOneLine(2, "CASE", "different names", Cases.CONV);
    assertEquals(List.of(), files());
  }

  @Test
  void anOutputFolderThatIsAFileIsOneLine() throws IOException {
    Path file = Cases.golden(folder, Cases.CONV);
    CommandLineRun.of("run", file.toString(), "--out-dir", file.toString())
        .failedWithOneLine(2, Cases.CONV);
  }

  private CommandLineRun run(Path first, String... more) {
    String[] arguments = new String[more.length + 4];
    arguments[0] = "run";
    arguments[1] = "--out-dir";
    arguments[2] = out.toString();
    arguments[3] = first.toString();
    System.arraycopy(more, 0, arguments, 4, more.length);
    return CommandLineRun.of(arguments);
  }

  private static DataType type(Safetensors file, String name) {
    return java.util.Objects.requireNonNull(file.tensors().get(name), name).dataType();
  }

  private List<String> files() throws IOException {
    if (!Files.exists(out)) {
      return List.of();
    }
    try (Stream<Path> files = Files.list(out)) {
      return files.map(f -> String.valueOf(f.getFileName())).sorted().toList();
    }
  }
}
