package dev.weft.moe;

import static java.util.Objects.requireNonNull;

import dev.weft.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * What a forward pass keeps for backward, in tensors that the caller owns. Immutable.
 *
 * <p>{@code permutation} lists the slots (token * topK + slot) that local experts compute, by
 * expert, then ascending; the rest is -1. Row p of {@code z} is the projection of slot {@code
 * permutation[p]} before the activation: gate in the first I columns, up in the last I, whatever
 * the weights' layout.
 */
public final class MoeSaved {
  private final Tensor ids;
  private final Tensor routingWeights;
  private final Tensor permutation;
  private final @Nullable Tensor logits;
  private final @Nullable Tensor z;

  private MoeSaved(
      Tensor ids,
      Tensor routingWeights,
      Tensor permutation,
      @Nullable Tensor logits,
      @Nullable Tensor z) {
    this.ids = requireNonNull(ids, "ids");
    this.routingWeights = requireNonNull(routingWeights, "routingWeights");
    this.permutation = requireNonNull(permutation, "permutation");
    this.logits = logits;
    this.z = z;
  }

  /**
   * Takes the tensors that are always kept.
   *
   * @param ids [T, topK] I32
   * @param routingWeights [T, topK] F32
   * @param permutation [T * topK] I32
   * @return arguments without options
   */
  public static MoeSaved of(Tensor ids, Tensor routingWeights, Tensor permutation) {
    return new MoeSaved(ids, routingWeights, permutation, null, null);
  }

  /**
   * Returns ids.
   *
   * @return [T, topK] I32
   */
  public Tensor ids() {
    return ids;
  }

  /**
   * Returns routingWeights.
   *
   * @return [T, topK] F32
   */
  public Tensor routingWeights() {
    return routingWeights;
  }

  /**
   * Returns permutation.
   *
   * @return [T * topK] I32
   */
  public Tensor permutation() {
    return permutation;
  }

  /**
   * Returns logits.
   *
   * @return [T, E] F32; needed unless ids and weights were given; null if not given
   */
  public @Nullable Tensor logits() {
    return logits;
  }

  /**
   * Gives logits.
   *
   * @param logits [T, E] F32; needed unless ids and weights were given, or null for none
   * @return a copy with it
   */
  public MoeSaved logits(@Nullable Tensor logits) {
    return new MoeSaved(ids, routingWeights, permutation, logits, z);
  }

  /**
   * Returns z.
   *
   * @return [T * topK, 2I] (RELU2: [T * topK, I]) in the activation type; recomputed where absent;
   *     null if not given
   */
  public @Nullable Tensor z() {
    return z;
  }

  /**
   * Gives z.
   *
   * @param z [T * topK, 2I] (RELU2: [T * topK, I]) in the activation type; recomputed where absent,
   *     or null for none
   * @return a copy with it
   */
  public MoeSaved z(@Nullable Tensor z) {
    return new MoeSaved(ids, routingWeights, permutation, logits, z);
  }
}
