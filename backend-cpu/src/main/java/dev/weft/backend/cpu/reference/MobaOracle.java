package dev.weft.backend.cpu.reference;

import dev.weft.Tensor;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import dev.weft.spi.Expected;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Not built yet. */
@SuppressWarnings("DoNotCallSuggester")
final class MobaOracle {
  private MobaOracle() {}

  static Map<String, Expected> forward(
      MobaAttentionSpec spec, MobaForward arguments, @Nullable Tensor selection) {
    throw new UnsupportedOperationException("not built yet");
  }

  static Optional<String> selectionFault(
      MobaAttentionSpec spec, MobaForward arguments, Tensor selection) {
    throw new UnsupportedOperationException("not built yet");
  }

  static Map<String, Expected> backward(MobaAttentionSpec spec, MobaBackward arguments) {
    throw new UnsupportedOperationException("not built yet");
  }

  static Map<String, Expected> append(MobaAttentionSpec spec, MobaAppend arguments) {
    throw new UnsupportedOperationException("not built yet");
  }

  static Map<String, Expected> paged(
      MobaAttentionSpec spec, MobaPaged arguments, @Nullable Tensor selection) {
    throw new UnsupportedOperationException("not built yet");
  }

  static Optional<String> pagedSelectionFault(
      MobaAttentionSpec spec, MobaPaged arguments, Tensor selection) {
    throw new UnsupportedOperationException("not built yet");
  }
}
