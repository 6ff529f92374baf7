package dev.weft.conv1d;

import dev.weft.DataType;
import dev.weft.OperationSpec;
import dev.weft.Prepared;
import java.util.EnumSet;
import java.util.Locale;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** What causal convolution to compile. Immutable; made by {@link #builder()}. */
public final class CausalConv1dSpec extends OperationSpec<CausalConv1d> {
  private final DataType dataType;
  private final DataType weightType;
  private final DataType stateType;
  private final DataType gradientType;
  private final int channels;
  private final int width;
  private final boolean bias;
  private final Activation activation;
  private final int padSlotId;
  private final boolean repeatableBackward;
  private final long workspaceLimit;
  private final EnumSet<Mode> modes;

  /** The launches that a kernel can be prepared for. */
  public enum Mode {
    /** {@link CausalConv1d#forward}. */
    FORWARD,
    /** {@link CausalConv1d#update}. */
    UPDATE,
    /** {@link CausalConv1d#backward}. */
    BACKWARD
  }

  private CausalConv1dSpec(Builder b) {
    dataType = b.dataType;
    weightType = b.weightType == null ? b.dataType : b.weightType;
    stateType = b.stateType == null ? b.dataType : b.stateType;
    gradientType = b.gradientType;
    channels = positive("channels", b.channels);
    width = atLeast("width", b.width, 2);
    bias = b.bias;
    activation = b.activation;
    padSlotId = b.padSlotId;
    repeatableBackward = b.repeatableBackward;
    workspaceLimit = b.workspaceLimit;
    modes = EnumSet.copyOf(b.modes);
    require(workspaceLimit >= 1, "workspaceLimit", "at least 1 byte", workspaceLimit);
    for (DataType type : new DataType[] {dataType, weightType, stateType, gradientType}) {
      require(type.isFloating(), "types", "f32, f16 or bf16", type.text());
    }
    require(
        gradientType == DataType.F32 || gradientType == weightType,
        "gradientType",
        "f32 or the weight type",
        gradientType.text());
  }

  private static int positive(String name, int value) {
    return atLeast(name, value, 1);
  }

  private static int atLeast(String name, int value, int least) {
    require(value >= least, name, "at least " + least, value);
    return value;
  }

  private static void require(boolean condition, String name, String expected, Object given) {
    if (!condition) {
      throw new IllegalArgumentException(
          "conv1d.causal: " + name + ": expected " + expected + ", but was " + given);
    }
  }

  /**
   * Starts a spec.
   *
   * @return a builder with the defaults
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Returns dataType.
   *
   * @return the type of x, out and their gradients
   */
  public DataType dataType() {
    return dataType;
  }

  /**
   * Returns weightType.
   *
   * @return the type of weight and bias
   */
  public DataType weightType() {
    return weightType;
  }

  /**
   * Returns stateType.
   *
   * @return the type of states and their gradients
   */
  public DataType stateType() {
    return stateType;
  }

  /**
   * Returns gradientType.
   *
   * @return the type of dweight and dbias
   */
  public DataType gradientType() {
    return gradientType;
  }

  /**
   * Returns channels.
   *
   * @return C, the number of channels
   */
  public int channels() {
    return channels;
  }

  /**
   * Returns width.
   *
   * @return W, the number of taps, at least 2
   */
  public int width() {
    return width;
  }

  /**
   * Returns bias.
   *
   * @return whether there is a bias
   */
  public boolean bias() {
    return bias;
  }

  /**
   * Returns activation.
   *
   * @return what follows the convolution
   */
  public Activation activation() {
    return activation;
  }

  /**
   * Returns padSlotId.
   *
   * @return the cache index that skips a sequence
   */
  public int padSlotId() {
    return padSlotId;
  }

  /**
   * Returns repeatableBackward.
   *
   * @return whether backward must give the same bits every time
   */
  public boolean repeatableBackward() {
    return repeatableBackward;
  }

  /**
   * Returns workspaceLimit.
   *
   * @return the scratch bytes that a launch should keep to, by working in groups
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
    b.weightType = weightType == dataType ? null : weightType;
    b.stateType = stateType == dataType ? null : stateType;
    b.gradientType = gradientType;
    b.channels = channels;
    b.width = width;
    b.bias = bias;
    b.activation = activation;
    b.padSlotId = padSlotId;
    b.repeatableBackward = repeatableBackward;
    b.workspaceLimit = workspaceLimit;
    b.modes = EnumSet.copyOf(modes);
    return b;
  }

  @Override
  public String operation() {
    return "conv1d.causal";
  }

  @Override
  protected void describe(Description d) {
    d.option("type", dataType.text())
        .option("weightType", weightType.text(), dataType.text())
        .option("stateType", stateType.text(), dataType.text())
        .option("gradientType", gradientType.text(), "f32")
        .option("channels", channels)
        .option("width", width)
        .option("bias", bias, false)
        .option("activation", activation.name().toLowerCase(Locale.ROOT))
        .option("padSlotId", padSlotId, -1)
        .option("repeatableBackward", repeatableBackward, true)
        .option("workspaceLimit", workspaceLimit, Long.MAX_VALUE);
    d.option(
        "modes",
        modes.stream()
            .map(m -> m.name().toLowerCase(Locale.ROOT))
            .collect(Collectors.joining("+")));
  }

  @Override
  protected CausalConv1d wrap(Prepared prepared) {
    return new CausalConv1d(prepared, this);
  }

  /** Builds a {@link CausalConv1dSpec}. */
  public static final class Builder {
    private DataType dataType = DataType.BF16;
    private @Nullable DataType weightType;
    private @Nullable DataType stateType;
    private DataType gradientType = DataType.F32;
    private int channels;
    private int width;
    private boolean bias;
    private Activation activation = Activation.SILU;
    private int padSlotId = -1;
    private boolean repeatableBackward = true;
    private long workspaceLimit = Long.MAX_VALUE;
    private EnumSet<Mode> modes = EnumSet.of(Mode.FORWARD);

    private Builder() {}

    /**
     * Sets dataType.
     *
     * @param dataType the type of x, out and their gradients
     * @return this
     */
    public Builder dataType(DataType dataType) {
      this.dataType = dataType;
      return this;
    }

    /**
     * Sets weightType.
     *
     * @param weightType F32, F16 or BF16; dataType by default
     * @return this
     */
    public Builder weightType(DataType weightType) {
      this.weightType = weightType;
      return this;
    }

    /**
     * Sets stateType.
     *
     * @param stateType F32, F16 or BF16; dataType by default
     * @return this
     */
    public Builder stateType(DataType stateType) {
      this.stateType = stateType;
      return this;
    }

    /**
     * Sets gradientType.
     *
     * @param gradientType F32 by default
     * @return this
     */
    public Builder gradientType(DataType gradientType) {
      this.gradientType = gradientType;
      return this;
    }

    /**
     * Sets channels.
     *
     * @param channels C, the number of channels
     * @return this
     */
    public Builder channels(int channels) {
      this.channels = channels;
      return this;
    }

    /**
     * Sets width.
     *
     * @param width W, the number of taps, at least 2
     * @return this
     */
    public Builder width(int width) {
      this.width = width;
      return this;
    }

    /**
     * Sets bias.
     *
     * @param bias false by default
     * @return this
     */
    public Builder bias(boolean bias) {
      this.bias = bias;
      return this;
    }

    /**
     * Sets activation.
     *
     * @param activation SILU by default
     * @return this
     */
    public Builder activation(Activation activation) {
      this.activation = activation;
      return this;
    }

    /**
     * Sets padSlotId.
     *
     * @param padSlotId -1 by default
     * @return this
     */
    public Builder padSlotId(int padSlotId) {
      this.padSlotId = padSlotId;
      return this;
    }

    /**
     * Sets repeatableBackward.
     *
     * @param repeatableBackward true by default
     * @return this
     */
    public Builder repeatableBackward(boolean repeatableBackward) {
      this.repeatableBackward = repeatableBackward;
      return this;
    }

    /**
     * Sets workspaceLimit.
     *
     * @param workspaceLimit the scratch bytes that a launch should keep to, by working in groups
     * @return this
     */
    public Builder workspaceLimit(long workspaceLimit) {
      this.workspaceLimit = workspaceLimit;
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
    public CausalConv1dSpec build() {
      return new CausalConv1dSpec(this);
    }
  }
}
