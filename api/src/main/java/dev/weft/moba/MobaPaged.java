package dev.weft.moba;

import static java.util.Objects.requireNonNull;

import dev.weft.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Tensors of MoBA over the paged cache: decode, speculation, chunked prefill and mixed batches
 * alike. New token i of n stands at position cacheLens[b] - n + i and sees what the unpaged form
 * would show it. Immutable.
 */
public final class MobaPaged {
  private final Tensor q;
  private final Tensor cuSeqlens;
  private final Tensor cacheLens;
  private final Tensor pageTable;
  private final Tensor keyCache;
  private final Tensor valueCache;
  private final Tensor blockMeans;
  private final Tensor out;
  private final @Nullable Tensor lse;
  private final @Nullable Tensor selection;

  private MobaPaged(
      Tensor q,
      Tensor cuSeqlens,
      Tensor cacheLens,
      Tensor pageTable,
      Tensor keyCache,
      Tensor valueCache,
      Tensor blockMeans,
      Tensor out,
      @Nullable Tensor lse,
      @Nullable Tensor selection) {
    this.q = requireNonNull(q, "q");
    this.cuSeqlens = requireNonNull(cuSeqlens, "cuSeqlens");
    this.cacheLens = requireNonNull(cacheLens, "cacheLens");
    this.pageTable = requireNonNull(pageTable, "pageTable");
    this.keyCache = requireNonNull(keyCache, "keyCache");
    this.valueCache = requireNonNull(valueCache, "valueCache");
    this.blockMeans = requireNonNull(blockMeans, "blockMeans");
    this.out = requireNonNull(out, "out");
    this.lse = lse;
    this.selection = selection;
  }

  /**
   * Takes the tensors that every call has.
   *
   * @param q [T, H, D] queries of the new tokens, packed
   * @param cuSeqlens [B+1] I32, where the new tokens of each sequence start; any number each, 0 too
   * @param cacheLens [B] I32, tokens cached, the new ones included
   * @param pageTable [B, P] I32, the pages of each sequence
   * @param keyCache [pages, pageSize, Hkv, D]
   * @param valueCache [pages, pageSize, Hkv, Dv]
   * @param blockMeans [pages, max(1, pageSize / blockSize), Hkv, D]
   * @param out [T, H, Dv], written
   * @return arguments without options
   */
  public static MobaPaged of(
      Tensor q,
      Tensor cuSeqlens,
      Tensor cacheLens,
      Tensor pageTable,
      Tensor keyCache,
      Tensor valueCache,
      Tensor blockMeans,
      Tensor out) {
    return new MobaPaged(
        q, cuSeqlens, cacheLens, pageTable, keyCache, valueCache, blockMeans, out, null, null);
  }

  /**
   * Returns q.
   *
   * @return [T, H, D] queries of the new tokens, packed
   */
  public Tensor q() {
    return q;
  }

  /**
   * Returns cuSeqlens.
   *
   * @return [B+1] I32, where the new tokens of each sequence start; any number each, 0 too
   */
  public Tensor cuSeqlens() {
    return cuSeqlens;
  }

  /**
   * Returns cacheLens.
   *
   * @return [B] I32, tokens cached, the new ones included
   */
  public Tensor cacheLens() {
    return cacheLens;
  }

  /**
   * Returns pageTable.
   *
   * @return [B, P] I32, the pages of each sequence
   */
  public Tensor pageTable() {
    return pageTable;
  }

  /**
   * Returns keyCache.
   *
   * @return [pages, pageSize, Hkv, D]
   */
  public Tensor keyCache() {
    return keyCache;
  }

  /**
   * Returns valueCache.
   *
   * @return [pages, pageSize, Hkv, Dv]
   */
  public Tensor valueCache() {
    return valueCache;
  }

  /**
   * Returns blockMeans.
   *
   * @return [pages, max(1, pageSize / blockSize), Hkv, D]
   */
  public Tensor blockMeans() {
    return blockMeans;
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
   * @return [T, H] F32, written; null if not given
   */
  public @Nullable Tensor lse() {
    return lse;
  }

  /**
   * Gives lse.
   *
   * @param lse [T, H] F32, written, or null for none
   * @return a copy with it
   */
  public MobaPaged lse(@Nullable Tensor lse) {
    return new MobaPaged(
        q, cuSeqlens, cacheLens, pageTable, keyCache, valueCache, blockMeans, out, lse, selection);
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
  public MobaPaged selection(@Nullable Tensor selection) {
    return new MobaPaged(
        q, cuSeqlens, cacheLens, pageTable, keyCache, valueCache, blockMeans, out, lse, selection);
  }
}
