package dev.weft.backend.cpu.reference;

import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.spi.Expected;
import java.util.Map;

/** Not built yet. */
@SuppressWarnings("DoNotCallSuggester")
final class Conv1dOracle {
  private Conv1dOracle() {}

  static Map<String, Expected> forward(CausalConv1dSpec spec, Conv1dForward arguments) {
    throw new UnsupportedOperationException("not built yet");
  }

  static Map<String, Expected> update(CausalConv1dSpec spec, Conv1dUpdate arguments) {
    throw new UnsupportedOperationException("not built yet");
  }

  static Map<String, Expected> backward(CausalConv1dSpec spec, Conv1dBackward arguments) {
    throw new UnsupportedOperationException("not built yet");
  }
}
