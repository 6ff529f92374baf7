package dev.weft.backend.cpu.reference;

import dev.weft.Tensor;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.spi.Expected;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Not built yet. */
@SuppressWarnings("DoNotCallSuggester")
final class MoeOracle {
  private MoeOracle() {}

  static Map<String, Expected> forward(
      MoeDispatchSpec spec, MoeForward arguments, @Nullable Tensor ids) {
    throw new UnsupportedOperationException("not built yet");
  }

  static Optional<String> selectionFault(MoeDispatchSpec spec, MoeForward arguments, Tensor ids) {
    throw new UnsupportedOperationException("not built yet");
  }

  static Map<String, Expected> backward(MoeDispatchSpec spec, MoeBackward arguments) {
    throw new UnsupportedOperationException("not built yet");
  }
}
