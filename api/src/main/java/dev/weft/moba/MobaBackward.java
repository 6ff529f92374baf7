package dev.weft.moba;

import static java.util.Objects.requireNonNull;

import dev.weft.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Tensors of a MoBA backward pass, a pure function of what forward read and wrote. Each gradient is
 * optional and skipped where not asked for. Immutable.
 */
public final class MobaBackward {
  private final Tensor q;
  private final Tensor k;
  private final Tensor v;
  private final Tensor cuSeqlens;
  private final Tensor out;
  private final Tensor lse;
  private final Tensor dout;
  private final @Nullable Tensor selection;
  private final @Nullable Tensor dq;
  private final @Nullable Tensor dk;
  private final @Nullable Tensor dv;

  private MobaBackward(
      Tensor q,
      Tensor k,
      Tensor v,
      Tensor cuSeqlens,
      Tensor out,
      Tensor lse,
      Tensor dout,
      @Nullable Tensor selection,
      @Nullable Tensor dq,
      @Nullable Tensor dk,
      @Nullable Tensor dv) {
    this.q = requireNonNull(q, "q");
    this.k = requireNonNull(k, "k");
    this.v = requireNonNull(v, "v");
    this.cuSeqlens = requireNonNull(cuSeqlens, "cuSeqlens");
    this.out = requireNonNull(out, "out");
    this.lse = requireNonNull(lse, "lse");
    this.dout = requireNonNull(dout, "dout");
    this.selection = selection;
    this.dq = dq;
    this.dk = dk;
    this.dv = dv;
  }

  /**
   * Takes the tensors that every backward pass has.
   *
   * @param q [T, H, D] queries
   * @param k [T, Hkv, D] keys
   * @param v [T, Hkv, Dv] values
   * @param cuSeqlens [B+1] I32, where sequences start
   * @param out [T, H, Dv] as forward wrote it
   * @param lse [T, H] F32 as forward wrote it
   * @param dout [T, H, Dv] gradient of out
   * @return arguments without options
   */
  public static MobaBackward of(
      Tensor q, Tensor k, Tensor v, Tensor cuSeqlens, Tensor out, Tensor lse, Tensor dout) {
    return new MobaBackward(q, k, v, cuSeqlens, out, lse, dout, null, null, null, null);
  }

  /**
   * Returns q.
   *
   * @return [T, H, D] queries
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
   * @return [B+1] I32, where sequences start
   */
  public Tensor cuSeqlens() {
    return cuSeqlens;
  }

  /**
   * Returns out.
   *
   * @return [T, H, Dv] as forward wrote it
   */
  public Tensor out() {
    return out;
  }

  /**
   * Returns lse.
   *
   * @return [T, H] F32 as forward wrote it
   */
  public Tensor lse() {
    return lse;
  }

  /**
   * Returns dout.
   *
   * @return [T, H, Dv] gradient of out
   */
  public Tensor dout() {
    return dout;
  }

  /**
   * Returns selection.
   *
   * @return [T, H, topK-1] I32 as forward wrote it; may be absent where no sequence has more than
   *     topK blocks; null if not given
   */
  public @Nullable Tensor selection() {
    return selection;
  }

  /**
   * Gives selection.
   *
   * @param selection [T, H, topK-1] I32 as forward wrote it; may be absent where no sequence has
   *     more than topK blocks, or null for none
   * @return a copy with it
   */
  public MobaBackward selection(@Nullable Tensor selection) {
    return new MobaBackward(q, k, v, cuSeqlens, out, lse, dout, selection, dq, dk, dv);
  }

  /**
   * Returns dq.
   *
   * @return [T, H, D], written; null if not given
   */
  public @Nullable Tensor dq() {
    return dq;
  }

  /**
   * Gives dq.
   *
   * @param dq [T, H, D], written, or null for none
   * @return a copy with it
   */
  public MobaBackward dq(@Nullable Tensor dq) {
    return new MobaBackward(q, k, v, cuSeqlens, out, lse, dout, selection, dq, dk, dv);
  }

  /**
   * Returns dk.
   *
   * @return [T, Hkv, D], written; null if not given
   */
  public @Nullable Tensor dk() {
    return dk;
  }

  /**
   * Gives dk.
   *
   * @param dk [T, Hkv, D], written, or null for none
   * @return a copy with it
   */
  public MobaBackward dk(@Nullable Tensor dk) {
    return new MobaBackward(q, k, v, cuSeqlens, out, lse, dout, selection, dq, dk, dv);
  }

  /**
   * Returns dv.
   *
   * @return [T, Hkv, Dv], written; null if not given
   */
  public @Nullable Tensor dv() {
    return dv;
  }

  /**
   * Gives dv.
   *
   * @param dv [T, Hkv, Dv], written, or null for none
   * @return a copy with it
   */
  public MobaBackward dv(@Nullable Tensor dv) {
    return new MobaBackward(q, k, v, cuSeqlens, out, lse, dout, selection, dq, dk, dv);
  }
}
