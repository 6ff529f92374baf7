package dev.weft.moba;

import dev.weft.DataType;
import dev.weft.MathMode;
import dev.weft.OperationSpec;
import dev.weft.Prepared;
import java.util.EnumSet;
import java.util.Locale;
import java.util.Set;
import java.util.stream.Collectors;

/** What MoBA attention to compile. Immutable; made by {@link #builder()}. */
public final class MobaAttentionSpec extends OperationSpec<MobaAttention> {
  private final DataType dataType;
  private final int heads;
  private final int kvHeads;
  private final int headDim;
  private final int valueDim;
  private final int blockSize;
  private final int topK;
  private final float scale;
  private final int pageSize;
  private final MathMode math;
  private final boolean repeatableBackward;
  private final long workspaceLimit;
  private final EnumSet<Mode> modes;

  /** The launches that a kernel can be prepared for. */
  public enum Mode {
    /** {@link MobaAttention#forward}. */
    FORWARD,
    /** {@link MobaAttention#backward}. */
    BACKWARD,
    /** {@link MobaAttention#append} and {@link MobaAttention#paged}. */
    PAGED
  }

  private MobaAttentionSpec(Builder b) {
    dataType = b.dataType;
    heads = positive("heads", b.heads);
    kvHeads = b.kvHeads == 0 ? heads : positive("kvHeads", b.kvHeads);
    headDim = positive("headDim", b.headDim);
    valueDim = b.valueDim == 0 ? headDim : positive("valueDim", b.valueDim);
    blockSize = positive("blockSize", b.blockSize);
    topK = positive("topK", b.topK);
    scale = Float.isNaN(b.scale) ? defaultScale(headDim) : b.scale;
    pageSize = b.pageSize;
    math = b.math;
    repeatableBackward = b.repeatableBackward;
    workspaceLimit = b.workspaceLimit;
    modes = EnumSet.copyOf(b.modes);
    if (workspaceLimit < 1) {
      throw new IllegalArgumentException(
          "moba.attention: workspaceLimit: expected at least 1 byte, but was " + workspaceLimit);
    }
    if (!dataType.isFloating()) {
      throw new IllegalArgumentException(
          "moba.attention: dataType: expected f32, f16 or bf16, but was " + dataType.text());
    }
    if (heads % kvHeads != 0) {
      throw new IllegalArgumentException(
          "moba.attention: heads: expected a multiple of kvHeads="
              + kvHeads
              + ", but was "
              + heads);
    }
    if (modes.contains(Mode.PAGED)) {
      positive("pageSize", pageSize);
      if (pageSize % blockSize != 0 && blockSize % pageSize != 0) {
        throw new IllegalArgumentException(
            "moba.attention: pageSize: expected a multiple or a divisor of blockSize="
                + blockSize
                + ", but was "
                + pageSize);
      }
    } else if (pageSize != 0) {
      throw new IllegalArgumentException(
          "moba.attention: pageSize: only the PAGED mode has pages; add modes(Mode.PAGED)");
    }
  }

  private static float defaultScale(int headDim) {
    return (float) (1 / Math.sqrt(headDim));
  }

  private static int positive(String name, int value) {
    if (value < 1) {
      throw new IllegalArgumentException(
          "moba.attention: " + name + ": expected at least 1, but was " + value);
    }
    return value;
  }

  /**
   * Starts a spec.
   *
   * @return a builder with dataType BF16 and mode FORWARD
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Returns the type of q, k, v, out, block means and gradients.
   *
   * @return F32, F16 or BF16
   */
  public DataType dataType() {
    return dataType;
  }

  /**
   * Returns H.
   *
   * @return query heads
   */
  public int heads() {
    return heads;
  }

  /**
   * Returns Hkv.
   *
   * @return key-value heads
   */
  public int kvHeads() {
    return kvHeads;
  }

  /**
   * Returns D.
   *
   * @return the size of a query or key
   */
  public int headDim() {
    return headDim;
  }

  /**
   * Returns Dv.
   *
   * @return the size of a value
   */
  public int valueDim() {
    return valueDim;
  }

  /**
   * Returns the block size.
   *
   * @return tokens per block
   */
  public int blockSize() {
    return blockSize;
  }

  /**
   * Returns how many blocks a query attends to, its own included.
   *
   * @return at least 1
   */
  public int topK() {
    return topK;
  }

  /**
   * Returns the factor of q.k in the softmax.
   *
   * @return D^-0.5 unless it was given
   */
  public float scale() {
    return scale;
  }

  /**
   * Returns the page size of the cache.
   *
   * @return tokens per page; 0 without {@link Mode#PAGED}
   */
  public int pageSize() {
    return pageSize;
  }

  /**
   * Returns how many block means a page holds.
   *
   * @return max(1, pageSize / blockSize)
   */
  public int meansPerPage() {
    return Math.max(1, pageSize / blockSize);
  }

  /**
   * Returns how precise products of F32 are.
   *
   * @return the mode
   */
  public MathMode math() {
    return math;
  }

  /**
   * Tells whether backward must give the same bits every time.
   *
   * @return true unless the faster form was asked for
   */
  public boolean repeatableBackward() {
    return repeatableBackward;
  }

  /**
   * Returns the scratch that a launch should keep to, by working in groups.
   *
   * @return bytes; Long.MAX_VALUE for no limit
   */
  public long workspaceLimit() {
    return workspaceLimit;
  }

  /**
   * Returns the launches to compile.
   *
   * @return a copy
   */
  public Set<Mode> modes() {
    return EnumSet.copyOf(modes);
  }

  /**
   * Starts from this spec.
   *
   * @return a builder with every option as here
   */
  public Builder toBuilder() {
    Builder b = new Builder();
    b.dataType = dataType;
    b.heads = heads;
    b.kvHeads = kvHeads == heads ? 0 : kvHeads;
    b.headDim = headDim;
    b.valueDim = valueDim == headDim ? 0 : valueDim;
    b.blockSize = blockSize;
    b.topK = topK;
    b.scale = scale == defaultScale(headDim) ? Float.NaN : scale;
    b.pageSize = pageSize;
    b.math = math;
    b.repeatableBackward = repeatableBackward;
    b.workspaceLimit = workspaceLimit;
    b.modes = EnumSet.copyOf(modes);
    return b;
  }

  @Override
  public String operation() {
    return "moba.attention";
  }

  @Override
  protected void describe(Description d) {
    d.option("type", dataType.text())
        .option("heads", heads)
        .option("kvHeads", kvHeads, heads)
        .option("headDim", headDim)
        .option("valueDim", valueDim, headDim)
        .option("blockSize", blockSize)
        .option("topK", topK)
        .option("scale", scale, defaultScale(headDim))
        .option("pageSize", pageSize, 0)
        .option("math", math.name().toLowerCase(Locale.ROOT), "precise")
        .option("repeatableBackward", repeatableBackward, true)
        .option("workspaceLimit", workspaceLimit, Long.MAX_VALUE)
        .option(
            "modes",
            modes.stream()
                .map(m -> m.name().toLowerCase(Locale.ROOT))
                .collect(Collectors.joining("+")));
  }

  @Override
  protected MobaAttention wrap(Prepared prepared) {
    return new MobaAttention(prepared, this);
  }

  /** Builds a {@link MobaAttentionSpec}. */
  public static final class Builder {
    private DataType dataType = DataType.BF16;
    private int heads;
    private int kvHeads;
    private int headDim;
    private int valueDim;
    private int blockSize;
    private int topK;
    private float scale = Float.NaN;
    private int pageSize;
    private MathMode math = MathMode.PRECISE;
    private boolean repeatableBackward = true;
    private long workspaceLimit = Long.MAX_VALUE;
    private EnumSet<Mode> modes = EnumSet.of(Mode.FORWARD);

    private Builder() {}

    /**
     * Sets the type of q, k, v, out, block means and gradients.
     *
     * @param dataType F32, F16 or BF16
     * @return this
     */
    public Builder dataType(DataType dataType) {
      this.dataType = dataType;
      return this;
    }

    /**
     * Sets H.
     *
     * @param heads query heads
     * @return this
     */
    public Builder heads(int heads) {
      this.heads = heads;
      return this;
    }

    /**
     * Sets Hkv.
     *
     * @param kvHeads key-value heads, a divisor of the query heads; as many as those by default
     * @return this
     */
    public Builder kvHeads(int kvHeads) {
      this.kvHeads = kvHeads;
      return this;
    }

    /**
     * Sets D.
     *
     * @param headDim the size of a query or key
     * @return this
     */
    public Builder headDim(int headDim) {
      this.headDim = headDim;
      return this;
    }

    /**
     * Sets Dv.
     *
     * @param valueDim the size of a value; D by default
     * @return this
     */
    public Builder valueDim(int valueDim) {
      this.valueDim = valueDim;
      return this;
    }

    /**
     * Sets the block size.
     *
     * @param blockSize tokens per block, at least 1
     * @return this
     */
    public Builder blockSize(int blockSize) {
      this.blockSize = blockSize;
      return this;
    }

    /**
     * Sets how many blocks a query attends to.
     *
     * @param topK at least 1; the query's own block counts
     * @return this
     */
    public Builder topK(int topK) {
      this.topK = topK;
      return this;
    }

    /**
     * Sets the factor of q.k in the softmax.
     *
     * @param scale any finite number, 0 included; D^-0.5 by default
     * @return this
     */
    public Builder scale(float scale) {
      if (!Float.isFinite(scale)) {
        throw new IllegalArgumentException(
            "moba.attention: scale: expected a finite number, but was " + scale);
      }
      this.scale = scale;
      return this;
    }

    /**
     * Sets the page size of the cache, for {@link Mode#PAGED}.
     *
     * @param pageSize tokens per page; a multiple or a divisor of the block size
     * @return this
     */
    public Builder pageSize(int pageSize) {
      this.pageSize = pageSize;
      return this;
    }

    /**
     * Sets how precise products of F32 are.
     *
     * @param math PRECISE by default
     * @return this
     */
    public Builder math(MathMode math) {
      this.math = math;
      return this;
    }

    /**
     * Allows backward to give other bits each time, where that is faster.
     *
     * @param repeatableBackward true by default
     * @return this
     */
    public Builder repeatableBackward(boolean repeatableBackward) {
      this.repeatableBackward = repeatableBackward;
      return this;
    }

    /**
     * Limits a launch's scratch; the work then goes in groups.
     *
     * @param bytes the limit
     * @return this
     */
    public Builder workspaceLimit(long bytes) {
      this.workspaceLimit = bytes;
      return this;
    }

    /**
     * Sets the launches to compile.
     *
     * @param first one
     * @param rest more
     * @return this
     */
    public Builder modes(Mode first, Mode... rest) {
      this.modes = EnumSet.of(first, rest);
      return this;
    }

    /**
     * Makes the spec.
     *
     * @return an immutable spec
     * @throws IllegalArgumentException naming the option that is missing or wrong
     */
    public MobaAttentionSpec build() {
      return new MobaAttentionSpec(this);
    }
  }
}
