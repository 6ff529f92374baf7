package dev.weft.cli;

import dev.weft.HostTensor;
import dev.weft.conformance.vectors.CaseFile;
import dev.weft.conformance.vectors.GoldenVectors;
import dev.weft.conformance.vectors.Safetensors;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/** Case files in a folder, right ones and broken ones. */
final class Cases {
  static final String CONV = "conv1d-w3-none-nobias";

  private Cases() {}

  /** A copy of a golden vector. */
  static Path golden(Path folder, String name) throws IOException {
    return write(folder.resolve(name + ".safetensors"), GoldenVectors.open(name), Map.of());
  }

  /** A case that expects something else of its output than is right. */
  static Path wrong(Path folder) throws IOException {
    CaseFile golden = GoldenVectors.open(CONV);
    HostTensor out = golden.expected().get("out");
    if (out == null) {
      throw new AssertionError(CONV + " expects no out");
    }
    float[] values = out.toFloats();
    values[5] += 1;
    HostTensor changed = HostTensor.ofFloats(out.dataType(), values, out.shape());
    return write(folder.resolve("wrong.safetensors"), golden, Map.of("expected.out", changed));
  }

  static Path truncated(Path folder) throws IOException {
    byte[] whole = Files.readAllBytes(golden(folder, CONV));
    return Files.write(
        folder.resolve("truncated.safetensors"), Arrays.copyOf(whole, whole.length / 2));
  }

  private static Path write(Path file, CaseFile content, Map<String, HostTensor> changed)
      throws IOException {
    Map<String, HostTensor> tensors = new LinkedHashMap<>(content.inputs());
    content.expected().forEach((name, tensor) -> tensors.put("expected." + name, tensor));
    tensors.putAll(changed);
    Safetensors.of(content.attributes(), tensors).write(file);
    return file;
  }
}
