package dev.weft.backend.cpu.reference;

import dev.weft.Tensor;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.spi.Expected;
import dev.weft.spi.Oracle;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Hands each question to the operation's own oracle. */
final class ReferenceOracle implements Oracle {
  @Override
  public Map<String, Expected> mobaForward(
      MobaAttentionSpec spec, MobaForward arguments, @Nullable Tensor selection) {
    return MobaOracle.forward(spec, arguments, selection);
  }

  @Override
  public Optional<String> mobaSelectionFault(
      MobaAttentionSpec spec, MobaForward arguments, Tensor selection) {
    return MobaOracle.selectionFault(spec, arguments, selection);
  }

  @Override
  public Map<String, Expected> mobaBackward(MobaAttentionSpec spec, MobaBackward arguments) {
    return MobaOracle.backward(spec, arguments);
  }

  @Override
  public Map<String, Expected> mobaAppend(MobaAttentionSpec spec, MobaAppend arguments) {
    return MobaOracle.append(spec, arguments);
  }

  @Override
  public Map<String, Expected> mobaPaged(
      MobaAttentionSpec spec, MobaPaged arguments, @Nullable Tensor selection) {
    return MobaOracle.paged(spec, arguments, selection);
  }

  @Override
  public Optional<String> mobaPagedSelectionFault(
      MobaAttentionSpec spec, MobaPaged arguments, Tensor selection) {
    return MobaOracle.pagedSelectionFault(spec, arguments, selection);
  }

  @Override
  public Map<String, Expected> moeForward(
      MoeDispatchSpec spec, MoeForward arguments, @Nullable Tensor ids) {
    return MoeOracle.forward(spec, arguments, ids);
  }

  @Override
  public Optional<String> moeSelectionFault(
      MoeDispatchSpec spec, MoeForward arguments, Tensor ids) {
    return MoeOracle.selectionFault(spec, arguments, ids);
  }

  @Override
  public Map<String, Expected> moeBackward(MoeDispatchSpec spec, MoeBackward arguments) {
    return MoeOracle.backward(spec, arguments);
  }

  @Override
  public Map<String, Expected> conv1dForward(CausalConv1dSpec spec, Conv1dForward arguments) {
    return Conv1dOracle.forward(spec, arguments);
  }

  @Override
  public Map<String, Expected> conv1dUpdate(CausalConv1dSpec spec, Conv1dUpdate arguments) {
    return Conv1dOracle.update(spec, arguments);
  }

  @Override
  public Map<String, Expected> conv1dBackward(CausalConv1dSpec spec, Conv1dBackward arguments) {
    return Conv1dOracle.backward(spec, arguments);
  }
}
