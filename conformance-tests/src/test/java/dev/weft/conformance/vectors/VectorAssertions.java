package dev.weft.conformance.vectors;

import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.weft.HostTensor;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.function.Executable;

/** What the tests of vector files share. */
final class VectorAssertions {
  private VectorAssertions() {}

  /** The message of the clear exception that this must throw. */
  static String problem(Executable executable) {
    return message(assertThrows(VectorFormatException.class, executable));
  }

  static String message(Throwable t) {
    return Objects.requireNonNull(t.getMessage());
  }

  static HostTensor tensor(Map<String, HostTensor> tensors, String name) {
    return Objects.requireNonNull(tensors.get(name), name);
  }
}
