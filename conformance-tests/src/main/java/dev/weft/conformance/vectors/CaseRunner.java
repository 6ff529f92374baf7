package dev.weft.conformance.vectors;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostTensor;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Computes a case's outputs on a device: every one that its inputs allow, and gradients when it has
 * a {@code dout}.
 *
 * <p>Names are those of {@code docs/case-format.md} less {@code expected.}. Floating inputs are
 * rounded to the type of the run first, but for what SEMANTICS keeps in F32 (the router's
 * correction bias, given logits and given weights). Outputs have the storage types of the specs:
 * the type of the run for activations, states and their gradients; F32 for parameter gradients,
 * {@code lse} and routing; I32 for ids and selections. Rows that an operation leaves alone
 * (padding) hold zeros.
 */
public final class CaseRunner {
  private CaseRunner() {}

  /**
   * Runs a case in its own type.
   *
   * @param device an open device
   * @param file the case
   * @return the outputs by name, in the format's order, in host memory
   * @throws dev.weft.UnsupportedSpecException if the device cannot run it
   */
  public static Map<String, HostTensor> run(Device device, CaseFile file) {
    return run(device, file, file.dataType());
  }

  /**
   * Runs a case.
   *
   * @param device an open device; its default stream is used, and waited for
   * @param file the case
   * @param type F32, F16 or BF16
   * @return the outputs by name, in the format's order, in host memory
   * @throws IllegalArgumentException if the type is no floating one
   * @throws dev.weft.UnsupportedSpecException if the device cannot run it
   */
  public static Map<String, HostTensor> run(Device device, CaseFile file, DataType type) {
    if (!type.isFloating()) {
      throw new IllegalArgumentException(
          "dtype: expected one of f32, f16, bf16, but was " + type.text());
    }
    try (CaseTensors tensors = new CaseTensors(device, type)) {
      file.definition().run(tensors);
      return tensors.download();
    }
  }

  /**
   * Puts outputs together as the file that {@code weft run} writes.
   *
   * @param device where they were computed
   * @param file the case
   * @param type the type of the run
   * @param outputs what {@link #run} returned
   * @return the outputs, with attributes that say where they come from
   */
  public static Safetensors results(
      Device device, CaseFile file, DataType type, Map<String, HostTensor> outputs) {
    Map<String, String> attributes = new LinkedHashMap<>();
    attributes.put("format", "weft-results-1");
    attributes.put("case", file.name());
    attributes.put("op", file.operation());
    attributes.put("dtype", type.text());
    attributes.put("backend", device.info().selector());
    attributes.put("spec", file.spec(type).text());
    return Safetensors.of(attributes, outputs);
  }
}
