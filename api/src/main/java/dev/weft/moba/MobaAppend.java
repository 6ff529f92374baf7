package dev.weft.moba;

import static java.util.Objects.requireNonNull;

import dev.weft.Tensor;

/**
 * Tensors of an append to the paged cache: stores new keys and values, and for each block that they
 * complete its mean, kept with the page of the block's last token. Immutable.
 */
public final class MobaAppend {
  private final Tensor k;
  private final Tensor v;
  private final Tensor cuSeqlens;
  private final Tensor cacheLens;
  private final Tensor pageTable;
  private final Tensor keyCache;
  private final Tensor valueCache;
  private final Tensor blockMeans;

  private MobaAppend(
      Tensor k,
      Tensor v,
      Tensor cuSeqlens,
      Tensor cacheLens,
      Tensor pageTable,
      Tensor keyCache,
      Tensor valueCache,
      Tensor blockMeans) {
    this.k = requireNonNull(k, "k");
    this.v = requireNonNull(v, "v");
    this.cuSeqlens = requireNonNull(cuSeqlens, "cuSeqlens");
    this.cacheLens = requireNonNull(cacheLens, "cacheLens");
    this.pageTable = requireNonNull(pageTable, "pageTable");
    this.keyCache = requireNonNull(keyCache, "keyCache");
    this.valueCache = requireNonNull(valueCache, "valueCache");
    this.blockMeans = requireNonNull(blockMeans, "blockMeans");
  }

  /**
   * Takes all tensors.
   *
   * @param k [T, Hkv, D] new keys, packed
   * @param v [T, Hkv, Dv] new values, packed
   * @param cuSeqlens [B+1] I32, where the new tokens of each sequence start; any number each, 0 too
   * @param cacheLens [B] I32, tokens cached AFTER this append; new token i of n lies at
   *     cacheLens[b] - n + i
   * @param pageTable [B, P] I32, the pages of each sequence; read no further than its tokens need
   * @param keyCache [pages, pageSize, Hkv, D], updated
   * @param valueCache [pages, pageSize, Hkv, Dv], updated
   * @param blockMeans [pages, max(1, pageSize / blockSize), Hkv, D], updated
   * @return arguments without options
   */
  public static MobaAppend of(
      Tensor k,
      Tensor v,
      Tensor cuSeqlens,
      Tensor cacheLens,
      Tensor pageTable,
      Tensor keyCache,
      Tensor valueCache,
      Tensor blockMeans) {
    return new MobaAppend(k, v, cuSeqlens, cacheLens, pageTable, keyCache, valueCache, blockMeans);
  }

  /**
   * Returns k.
   *
   * @return [T, Hkv, D] new keys, packed
   */
  public Tensor k() {
    return k;
  }

  /**
   * Returns v.
   *
   * @return [T, Hkv, Dv] new values, packed
   */
  public Tensor v() {
    return v;
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
   * @return [B] I32, tokens cached AFTER this append; new token i of n lies at cacheLens[b] - n + i
   */
  public Tensor cacheLens() {
    return cacheLens;
  }

  /**
   * Returns pageTable.
   *
   * @return [B, P] I32, the pages of each sequence; read no further than its tokens need
   */
  public Tensor pageTable() {
    return pageTable;
  }

  /**
   * Returns keyCache.
   *
   * @return [pages, pageSize, Hkv, D], updated
   */
  public Tensor keyCache() {
    return keyCache;
  }

  /**
   * Returns valueCache.
   *
   * @return [pages, pageSize, Hkv, Dv], updated
   */
  public Tensor valueCache() {
    return valueCache;
  }

  /**
   * Returns blockMeans.
   *
   * @return [pages, max(1, pageSize / blockSize), Hkv, D], updated
   */
  public Tensor blockMeans() {
    return blockMeans;
  }
}
