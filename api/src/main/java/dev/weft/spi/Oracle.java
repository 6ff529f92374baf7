package dev.weft.spi;

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
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * The conformance suite's source of truth: values in float64 with the error bounds of the tolerance
 * law. An extension of the {@code reference} backend's device ({@link BackendDevice#extension}).
 *
 * <p>All tensors are of that device and are read at once, on the calling thread; the caller has
 * waited for whatever wrote them. Outputs among the arguments are not written, they only say what
 * is asked for. Results are keyed by the argument's accessor ({@code out}, {@code lse}, {@code dq},
 * ...) and cover the outputs that the arguments ask for, except selections and ids.
 *
 * <p>Where an operation selects (blocks, experts), the caller passes the selection that the backend
 * under test reported, so that near ties do not matter to the values; whether that selection was
 * right is asked separately.
 */
public interface Oracle {
  /**
   * MoBA forward.
   *
   * @param spec the spec
   * @param arguments the inputs
   * @param selection [T, H, topK-1] I32 as reported, or null to select in float64
   * @return {@code out}, {@code lse}
   */
  Map<String, Expected> mobaForward(
      MobaAttentionSpec spec, MobaForward arguments, @Nullable Tensor selection);

  /**
   * Judges a reported block selection.
   *
   * @param spec the spec
   * @param arguments the inputs
   * @param selection [T, H, topK-1] I32 as reported
   * @return empty if right; else the first fault with token, head, blocks, scores and bands
   */
  Optional<String> mobaSelectionFault(
      MobaAttentionSpec spec, MobaForward arguments, Tensor selection);

  /**
   * MoBA backward, from the given out, lse and selection.
   *
   * @param spec the spec
   * @param arguments the inputs
   * @return {@code dq}, {@code dk}, {@code dv}
   */
  Map<String, Expected> mobaBackward(MobaAttentionSpec spec, MobaBackward arguments);

  /**
   * The cache after an append.
   *
   * @param spec the spec
   * @param arguments the inputs; the cache tensors hold the state before
   * @return {@code keyCache} and {@code valueCache} bit for bit, {@code blockMeans} with bounds;
   *     whole tensors, what the call leaves alone being exact
   */
  Map<String, Expected> mobaAppend(MobaAttentionSpec spec, MobaAppend arguments);

  /**
   * MoBA over the paged cache.
   *
   * @param spec the spec
   * @param arguments the inputs
   * @param selection [T, H, topK-1] I32 as reported, or null to select in float64
   * @return {@code out}, {@code lse}
   */
  Map<String, Expected> mobaPaged(
      MobaAttentionSpec spec, MobaPaged arguments, @Nullable Tensor selection);

  /**
   * Judges a block selection reported by the paged form.
   *
   * @param spec the spec
   * @param arguments the inputs
   * @param selection [T, H, topK-1] I32 as reported
   * @return empty if right; else the first fault
   */
  Optional<String> mobaPagedSelectionFault(
      MobaAttentionSpec spec, MobaPaged arguments, Tensor selection);

  /**
   * MoE forward.
   *
   * @param spec the spec
   * @param arguments the inputs
   * @param ids [T, topK] I32 as reported, or null to select in float64
   * @return {@code y}, and where asked for {@code routingWeights}, {@code logits}, {@code counts},
   *     {@code saved.permutation}, {@code saved.routingWeights}, {@code saved.logits}, {@code
   *     saved.z}
   */
  Map<String, Expected> moeForward(
      MoeDispatchSpec spec, MoeForward arguments, @Nullable Tensor ids);

  /**
   * Judges a reported choice of experts, order of slots included.
   *
   * @param spec the spec
   * @param arguments the inputs
   * @param ids [T, topK] I32 as reported
   * @return empty if right; else the first fault
   */
  Optional<String> moeSelectionFault(MoeDispatchSpec spec, MoeForward arguments, Tensor ids);

  /**
   * MoE backward, from the given saved tensors.
   *
   * @param spec the spec
   * @param arguments the inputs
   * @return the gradients asked for, by accessor name
   */
  Map<String, Expected> moeBackward(MoeDispatchSpec spec, MoeBackward arguments);

  /**
   * Convolution of packed sequences.
   *
   * @param spec the spec
   * @param arguments the inputs; {@code states} holds the states before
   * @return {@code out}, and where given {@code states} (whole, bit for bit) and {@code
   *     initialStatesOut}
   */
  Map<String, Expected> conv1dForward(CausalConv1dSpec spec, Conv1dForward arguments);

  /**
   * A decoding step.
   *
   * @param spec the spec
   * @param arguments the inputs; {@code states} holds the states before
   * @return {@code out}, {@code states} (whole, bit for bit)
   */
  Map<String, Expected> conv1dUpdate(CausalConv1dSpec spec, Conv1dUpdate arguments);

  /**
   * Convolution backward.
   *
   * @param spec the spec
   * @param arguments the inputs
   * @return {@code dx}, {@code dweight}, {@code dbias}, {@code dinitialStates}
   */
  Map<String, Expected> conv1dBackward(CausalConv1dSpec spec, Conv1dBackward arguments);
}
