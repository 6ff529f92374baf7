package dev.weft.moba;

import static java.util.Objects.requireNonNull;

import dev.weft.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Tensors of a MoBA forward pass. Immutable.
 *
 * <p>Selected are the blocks of highest score, ties and NaN going to the lower index and last; see
 * {@link MobaAttention}.
 */
public final class MobaForward {
  private final Tensor q;
  private final Tensor k;
  private final Tensor v;
  private final Tensor cuSeqlens;
  private final Tensor out;
  private final @Nullable Tensor lse;
  private final @Nullable Tensor selection;

  private MobaForward(
      Tensor q,
      Tensor k,
      Tensor v,
      Tensor cuSeqlens,
      Tensor out,
      @Nullable Tensor lse,
      @Nullable Tensor selection) {
    this.q = requireNonNull(q, "q");
    this.k = requireNonNull(k, "k");
    this.v = requireNonNull(v, "v");
    this.cuSeqlens = requireNonNull(cuSeqlens, "cuSeqlens");
    this.out = requireNonNull(out, "out");
    this.lse = lse;
    this.selection = selection;
  }

  /**
   * Takes the tensors that every forward pass has.
   *
   * @param q [T, H, D] queries, in the storage type
   * @param k [T, Hkv, D] keys
   * @param v [T, Hkv, Dv] values
   * @param cuSeqlens [B+1] I32, where sequences start; rows from its last value on are padding
   * @param out [T, H, Dv], written
   * @return arguments without options
   */
  public static MobaForward of(Tensor q, Tensor k, Tensor v, Tensor cuSeqlens, Tensor out) {
    return new MobaForward(q, k, v, cuSeqlens, out, null, null);
  }

  /**
   * Returns q.
   *
   * @return [T, H, D] queries, in the storage type
   */
  public Tensor q() {
    return q;
  }

  /**
   * Returns k.
   *
   * @return [T, Hkv, D] keys
   */
  public Tensor k() {
    return k;
  }

  /**
   * Returns v.
   *
   * @return [T, Hkv, Dv] values
   */
  public Tensor v() {
    return v;
  }

  /**
   * Returns cuSeqlens.
   *
   * @return [B+1] I32, where sequences start; rows from its last value on are padding
   */
  public Tensor cuSeqlens() {
    return cuSeqlens;
  }

  /**
   * Returns out.
   *
   * @return [T, H, Dv], written
   */
  public Tensor out() {
    return out;
  }

  /**
   * Returns lse.
   *
   * @return [T, H] F32, written: natural log of the sum of exp of scaled scores; null if not given
   */
  public @Nullable Tensor lse() {
    return lse;
  }

  /**
   * Gives lse.
   *
   * @param lse [T, H] F32, written: natural log of the sum of exp of scaled scores, or null for
   *     none
   * @return a copy with it
   */
  public MobaForward lse(@Nullable Tensor lse) {
    return new MobaForward(q, k, v, cuSeqlens, out, lse, selection);
  }

  /**
   * Returns selection.
   *
   * @return [T, H, topK-1] I32, written: block indices within the sequence, ascending, then -1;
   *     null if not given
   */
  public @Nullable Tensor selection() {
    return selection;
  }

  /**
   * Gives selection.
   *
   * @param selection [T, H, topK-1] I32, written: block indices within the sequence, ascending,
   *     then -1, or null for none
   * @return a copy with it
   */
  public MobaForward selection(@Nullable Tensor selection) {
    return new MobaForward(q, k, v, cuSeqlens, out, lse, selection);
  }
}
