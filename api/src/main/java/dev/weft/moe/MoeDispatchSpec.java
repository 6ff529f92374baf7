package dev.weft.moe;

import dev.weft.DataType;
import dev.weft.MathMode;
import dev.weft.OperationSpec;
import dev.weft.Prepared;
import java.util.EnumSet;
import java.util.Locale;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** What mixture of experts to compile. Immutable; made by {@link #builder()}. */
public final class MoeDispatchSpec extends OperationSpec<MoeDispatch> {
  /** Gate and up together must fit an int. */
  private static final int MOST_WIDE = 1 << 30;

  private final DataType dataType;
  private final DataType weightType;
  private final DataType routerType;
  private final DataType gradientType;
  private final int hidden;
  private final int intermediate;
  private final int experts;
  private final int topK;
  private final RouterSpec router;
  private final ExpertActivation activation;
  private final float swigluAlpha;
  private final float swigluLimit;
  private final GateUpLayout gateUpLayout;
  private final boolean expertBias;
  private final int sharedIntermediate;
  private final boolean sharedGate;
  private final int firstExpert;
  private final int localExperts;
  private final WeightFormat weightFormat;
  private final boolean packedCopy;
  private final MathMode math;
  private final boolean repeatableBackward;
  private final long workspaceLimit;
  private final EnumSet<Mode> modes;

  /** The launches that a kernel can be prepared for. */
  public enum Mode {
    /** {@link MoeDispatch#forward}. */
    FORWARD,
    /** {@link MoeDispatch#backward}, and forward with {@link MoeForward#saved()}. */
    BACKWARD
  }

  private MoeDispatchSpec(Builder b) {
    dataType = b.dataType;
    weightType = b.weightType == null ? b.dataType : b.weightType;
    routerType = b.routerType == null ? b.dataType : b.routerType;
    gradientType = b.gradientType;
    hidden = positive("hidden", b.hidden);
    intermediate = positive("intermediate", b.intermediate);
    experts = positive("experts", b.experts);
    topK = positive("topK", b.topK);
    router = b.router;
    activation = b.activation;
    swigluAlpha = b.swigluAlpha;
    swigluLimit = b.swigluLimit;
    gateUpLayout = b.gateUpLayout;
    expertBias = b.expertBias;
    sharedIntermediate = atLeast("sharedIntermediate", b.sharedIntermediate, 0);
    sharedGate = b.sharedGate;
    firstExpert = atLeast("firstExpert", b.firstExpert, 0);
    localExperts = b.localExperts == 0 ? b.experts - b.firstExpert : b.localExperts;
    weightFormat = b.weightFormat;
    packedCopy = b.packedCopy;
    math = b.math;
    repeatableBackward = b.repeatableBackward;
    workspaceLimit = b.workspaceLimit;
    modes = EnumSet.copyOf(b.modes);
    require(workspaceLimit >= 1, "workspaceLimit", "at least 1 byte", workspaceLimit);
    require(intermediate <= MOST_WIDE, "intermediate", "at most " + MOST_WIDE, intermediate);
    require(
        sharedIntermediate <= MOST_WIDE,
        "sharedIntermediate",
        "at most " + MOST_WIDE,
        sharedIntermediate);
    require(Float.isFinite(swigluAlpha), "swigluAlpha", "a finite number", swigluAlpha);
    require(swigluLimit > 0, "swigluLimit", "a number above 0", swigluLimit);
    for (DataType type : new DataType[] {dataType, weightType, routerType, gradientType}) {
      require(type.isFloating(), "types", "f32, f16 or bf16", type.text());
    }
    require(
        gradientType == DataType.F32 || (gradientType == weightType && gradientType == routerType),
        "gradientType",
        "f32, or the one type of all weights",
        gradientType.text());
    require(topK <= experts, "topK", "at most experts=" + experts, topK);
    require(
        experts % router.groups() == 0,
        "router.groups",
        "a divisor of experts=" + experts,
        router.groups());
    require(
        localExperts >= 1 && (long) firstExpert + localExperts <= experts,
        "firstExpert, localExperts",
        "a range within 0.." + experts,
        firstExpert + ", " + localExperts);
    require(!sharedGate || sharedIntermediate > 0, "sharedGate", "a shared expert to gate", "none");
    require(
        activation.isGated() || gateUpLayout == GateUpLayout.GATE_FIRST,
        "gateUpLayout",
        "the default, as " + activation + " has no gate",
        gateUpLayout);
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
          "moe.dispatch: " + name + ": expected " + expected + ", but was " + given);
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
   * @return the type of x, y and activations
   */
  public DataType dataType() {
    return dataType;
  }

  /**
   * Returns weightType.
   *
   * @return the type of expert weights and their biases, shared ones included
   */
  public DataType weightType() {
    return weightType;
  }

  /**
   * Returns routerType.
   *
   * @return the type of router weight, router bias and shared gate weight
   */
  public DataType routerType() {
    return routerType;
  }

  /**
   * Returns gradientType.
   *
   * @return the type of parameter gradients
   */
  public DataType gradientType() {
    return gradientType;
  }

  /**
   * Returns hidden.
   *
   * @return H, the size of a token
   */
  public int hidden() {
    return hidden;
  }

  /**
   * Returns intermediate.
   *
   * @return I, the width of an expert
   */
  public int intermediate() {
    return intermediate;
  }

  /**
   * Returns experts.
   *
   * @return E, the number of experts
   */
  public int experts() {
    return experts;
  }

  /**
   * Returns topK.
   *
   * @return the number of experts per token
   */
  public int topK() {
    return topK;
  }

  /**
   * Returns router.
   *
   * @return how experts are chosen and weighed
   */
  public RouterSpec router() {
    return router;
  }

  /**
   * Returns activation.
   *
   * @return what lies between the projections
   */
  public ExpertActivation activation() {
    return activation;
  }

  /**
   * Returns swigluAlpha.
   *
   * @return alpha of SWIGLU_CLAMPED
   */
  public float swigluAlpha() {
    return swigluAlpha;
  }

  /**
   * Returns swigluLimit.
   *
   * @return limit of SWIGLU_CLAMPED
   */
  public float swigluLimit() {
    return swigluLimit;
  }

  /**
   * Returns gateUpLayout.
   *
   * @return where gate and up rows lie
   */
  public GateUpLayout gateUpLayout() {
    return gateUpLayout;
  }

  /**
   * Returns expertBias.
   *
   * @return whether both projections have biases
   */
  public boolean expertBias() {
    return expertBias;
  }

  /**
   * Returns sharedIntermediate.
   *
   * @return the width of the shared expert
   */
  public int sharedIntermediate() {
    return sharedIntermediate;
  }

  /**
   * Returns sharedGate.
   *
   * @return whether the shared expert is scaled by sigmoid(x . g)
   */
  public boolean sharedGate() {
    return sharedGate;
  }

  /**
   * Returns firstExpert.
   *
   * @return the first expert of the local range
   */
  public int firstExpert() {
    return firstExpert;
  }

  /**
   * Returns localExperts.
   *
   * @return how many experts the expert tensors hold
   */
  public int localExperts() {
    return localExperts;
  }

  /**
   * Returns weightFormat.
   *
   * @return how expert weights are stored
   */
  public WeightFormat weightFormat() {
    return weightFormat;
  }

  /**
   * Returns packedCopy.
   *
   * @return whether binding may pack a copy of the weights
   */
  public boolean packedCopy() {
    return packedCopy;
  }

  /**
   * Returns math.
   *
   * @return how precise products of F32 are
   */
  public MathMode math() {
    return math;
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
   * Returns the columns of an expert's first projection.
   *
   * @return 2I for gated activations, I otherwise
   */
  public int projected() {
    return activation.isGated() ? 2 * intermediate : intermediate;
  }

  /**
   * Returns the columns of the shared expert's first projection.
   *
   * @return 2Is for gated activations, Is otherwise
   */
  public int sharedProjected() {
    return activation.isGated() ? 2 * sharedIntermediate : sharedIntermediate;
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
    b.routerType = routerType == dataType ? null : routerType;
    b.gradientType = gradientType;
    b.hidden = hidden;
    b.intermediate = intermediate;
    b.experts = experts;
    b.topK = topK;
    b.router = router;
    b.activation = activation;
    b.swigluAlpha = swigluAlpha;
    b.swigluLimit = swigluLimit;
    b.gateUpLayout = gateUpLayout;
    b.expertBias = expertBias;
    b.sharedIntermediate = sharedIntermediate;
    b.sharedGate = sharedGate;
    b.firstExpert = firstExpert;
    b.localExperts = localExperts == experts - firstExpert ? 0 : localExperts;
    b.weightFormat = weightFormat;
    b.packedCopy = packedCopy;
    b.math = math;
    b.repeatableBackward = repeatableBackward;
    b.workspaceLimit = workspaceLimit;
    b.modes = EnumSet.copyOf(modes);
    return b;
  }

  @Override
  public String operation() {
    return "moe.dispatch";
  }

  @Override
  protected void describe(Description d) {
    d.option("type", dataType.text())
        .option("weightType", weightType.text(), dataType.text())
        .option("routerType", routerType.text(), dataType.text())
        .option("gradientType", gradientType.text(), "f32")
        .option("hidden", hidden)
        .option("intermediate", intermediate)
        .option("experts", experts)
        .option("topK", topK)
        .option("router", router)
        .option("activation", activation.name().toLowerCase(Locale.ROOT))
        .option("swigluAlpha", swigluAlpha, 1.702f)
        .option("swigluLimit", swigluLimit, 7f)
        .option("gateUpLayout", gateUpLayout.name().toLowerCase(Locale.ROOT), "gate_first")
        .option("expertBias", expertBias, false)
        .option("sharedIntermediate", sharedIntermediate, 0)
        .option("sharedGate", sharedGate, false)
        .option("firstExpert", firstExpert, 0)
        .option("localExperts", localExperts, experts - firstExpert)
        .option("weightFormat", weightFormat.text(), "dense")
        .option("packedCopy", packedCopy, false)
        .option("math", math.name().toLowerCase(Locale.ROOT), "precise")
        .option("repeatableBackward", repeatableBackward, true)
        .option("workspaceLimit", workspaceLimit, Long.MAX_VALUE);
    d.option(
        "modes",
        modes.stream()
            .map(m -> m.name().toLowerCase(Locale.ROOT))
            .collect(Collectors.joining("+")));
  }

  @Override
  protected MoeDispatch wrap(Prepared prepared) {
    return new MoeDispatch(prepared, this);
  }

  /** Builds a {@link MoeDispatchSpec}. */
  public static final class Builder {
    private DataType dataType = DataType.BF16;
    private @Nullable DataType weightType;
    private @Nullable DataType routerType;
    private DataType gradientType = DataType.F32;
    private int hidden;
    private int intermediate;
    private int experts;
    private int topK;
    private RouterSpec router = RouterSpec.builder().build();
    private ExpertActivation activation = ExpertActivation.SWIGLU;
    private float swigluAlpha = 1.702f;
    private float swigluLimit = 7f;
    private GateUpLayout gateUpLayout = GateUpLayout.GATE_FIRST;
    private boolean expertBias;
    private int sharedIntermediate;
    private boolean sharedGate;
    private int firstExpert;
    private int localExperts;
    private WeightFormat weightFormat = WeightFormat.DENSE;
    private boolean packedCopy;
    private MathMode math = MathMode.PRECISE;
    private boolean repeatableBackward = true;
    private long workspaceLimit = Long.MAX_VALUE;
    private EnumSet<Mode> modes = EnumSet.of(Mode.FORWARD);

    private Builder() {}

    /**
     * Sets dataType.
     *
     * @param dataType F32, F16 or BF16
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
     * Sets routerType.
     *
     * @param routerType F32, F16 or BF16; dataType by default
     * @return this
     */
    public Builder routerType(DataType routerType) {
      this.routerType = routerType;
      return this;
    }

    /**
     * Sets gradientType.
     *
     * @param gradientType F32, or one equal to weightType and routerType; F32 by default
     * @return this
     */
    public Builder gradientType(DataType gradientType) {
      this.gradientType = gradientType;
      return this;
    }

    /**
     * Sets hidden.
     *
     * @param hidden H, the size of a token
     * @return this
     */
    public Builder hidden(int hidden) {
      this.hidden = hidden;
      return this;
    }

    /**
     * Sets intermediate.
     *
     * @param intermediate I, the width of an expert
     * @return this
     */
    public Builder intermediate(int intermediate) {
      this.intermediate = intermediate;
      return this;
    }

    /**
     * Sets experts.
     *
     * @param experts E, the number of experts
     * @return this
     */
    public Builder experts(int experts) {
      this.experts = experts;
      return this;
    }

    /**
     * Sets topK.
     *
     * @param topK the number of experts per token
     * @return this
     */
    public Builder topK(int topK) {
      this.topK = topK;
      return this;
    }

    /**
     * Sets router.
     *
     * @param router how experts are chosen and weighed
     * @return this
     */
    public Builder router(RouterSpec router) {
      this.router = router;
      return this;
    }

    /**
     * Sets activation.
     *
     * @param activation SWIGLU by default
     * @return this
     */
    public Builder activation(ExpertActivation activation) {
      this.activation = activation;
      return this;
    }

    /**
     * Sets swigluAlpha.
     *
     * @param swigluAlpha 1.702 by default
     * @return this
     */
    public Builder swigluAlpha(float swigluAlpha) {
      this.swigluAlpha = swigluAlpha;
      return this;
    }

    /**
     * Sets swigluLimit.
     *
     * @param swigluLimit 7 by default
     * @return this
     */
    public Builder swigluLimit(float swigluLimit) {
      this.swigluLimit = swigluLimit;
      return this;
    }

    /**
     * Sets gateUpLayout.
     *
     * @param gateUpLayout GATE_FIRST by default
     * @return this
     */
    public Builder gateUpLayout(GateUpLayout gateUpLayout) {
      this.gateUpLayout = gateUpLayout;
      return this;
    }

    /**
     * Sets expertBias.
     *
     * @param expertBias false by default
     * @return this
     */
    public Builder expertBias(boolean expertBias) {
      this.expertBias = expertBias;
      return this;
    }

    /**
     * Sets sharedIntermediate.
     *
     * @param sharedIntermediate 0, the default, for none
     * @return this
     */
    public Builder sharedIntermediate(int sharedIntermediate) {
      this.sharedIntermediate = sharedIntermediate;
      return this;
    }

    /**
     * Sets sharedGate.
     *
     * @param sharedGate false by default
     * @return this
     */
    public Builder sharedGate(boolean sharedGate) {
      this.sharedGate = sharedGate;
      return this;
    }

    /**
     * Sets firstExpert.
     *
     * @param firstExpert 0 by default
     * @return this
     */
    public Builder firstExpert(int firstExpert) {
      this.firstExpert = firstExpert;
      return this;
    }

    /**
     * Sets localExperts.
     *
     * @param localExperts experts from firstExpert on that are held here; all by default
     * @return this
     */
    public Builder localExperts(int localExperts) {
      this.localExperts = localExperts;
      return this;
    }

    /**
     * Sets weightFormat.
     *
     * @param weightFormat DENSE by default
     * @return this
     */
    public Builder weightFormat(WeightFormat weightFormat) {
      this.weightFormat = weightFormat;
      return this;
    }

    /**
     * Sets packedCopy.
     *
     * @param packedCopy false by default: weights are read in place
     * @return this
     */
    public Builder packedCopy(boolean packedCopy) {
      this.packedCopy = packedCopy;
      return this;
    }

    /**
     * Sets math.
     *
     * @param math PRECISE by default
     * @return this
     */
    public Builder math(MathMode math) {
      this.math = math;
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
    public MoeDispatchSpec build() {
      return new MoeDispatchSpec(this);
    }
  }
}
