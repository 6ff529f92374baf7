package dev.weft.conformance;

import dev.weft.DataType;
import dev.weft.OperationSpec;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/**
 * One case of the suite. Immutable.
 *
 * <p>Its id, such as {@code moba.forward/bf16/H=4,Hkv=2,D=64,B=32,k=3/ragged#random}, is operation,
 * data type, sizes, feature and family. Ids are stable: inputs derive from them, and waivers and
 * reports name them.
 */
public final class ConformanceCase {
  private final String operation;
  private final DataType dataType;
  private final String sizes;
  private final String feature;
  private final Family family;
  private final Placement placement;
  private final Set<Profile> profiles;
  private final List<OperationSpec<?>> specs;
  private final long flops;
  private final Body body;

  /** What a case does. Runs on a thread of its own; shares nothing with other cases. */
  @FunctionalInterface
  public interface Body {
    /**
     * Draws inputs, launches and checks.
     *
     * @param context everything that the case may use
     * @throws Exception any failure
     */
    void run(CaseContext context) throws Exception;
  }

  private ConformanceCase(Builder b, Body body) {
    this.operation = b.operation;
    this.dataType = b.dataType;
    this.sizes = b.sizes;
    this.feature = b.feature;
    this.family = b.family;
    this.placement = b.placement;
    Set<Profile> tags = EnumSet.noneOf(Profile.class);
    tags.addAll(b.profiles);
    if (dataType == DataType.BF16) {
      tags.add(Profile.BF16);
    }
    if (dataType == DataType.F16) {
      tags.add(Profile.F16);
    }
    if (tags.isEmpty()) {
      tags.add(Profile.CORE);
    }
    this.profiles = tags;
    this.specs = List.copyOf(b.specs);
    this.flops = b.flops;
    this.body = body;
  }

  /**
   * Starts a case.
   *
   * @param operation the launch, such as {@code moba.forward}; device contract cases begin with
   *     {@code device.}
   * @param dataType the main storage type; BF16 and F16 imply their profiles
   * @param sizes the sizes and options that matter, such as {@code T=17,C=129,W=4}; may be empty
   * @param feature what it is about, such as {@code ragged}: lower case, dashes
   * @param family its inputs
   * @return a builder
   */
  public static Builder of(
      String operation, DataType dataType, String sizes, String feature, Family family) {
    return new Builder(operation, dataType, sizes, feature, family);
  }

  /**
   * Returns the id.
   *
   * @return operation/type/sizes/feature#family
   */
  public String id() {
    return operation
        + '/'
        + dataType.text()
        + (sizes.isEmpty() ? "" : '/' + sizes)
        + '/'
        + feature
        + '#'
        + family.text();
  }

  /**
   * Returns the launch that is tested.
   *
   * @return such as {@code moba.forward}
   */
  public String operation() {
    return operation;
  }

  /**
   * Returns the operation's family.
   *
   * @return the part before the dot: {@code moba}, {@code moe}, {@code conv1d}, {@code device}
   */
  public String area() {
    int dot = operation.indexOf('.');
    return dot < 0 ? operation : operation.substring(0, dot);
  }

  /**
   * Returns the main storage type.
   *
   * @return the type
   */
  public DataType dataType() {
    return dataType;
  }

  /**
   * Returns what the case is about.
   *
   * @return such as {@code ragged}
   */
  public String feature() {
    return feature;
  }

  /**
   * Returns the kind of its inputs.
   *
   * @return the family
   */
  public Family family() {
    return family;
  }

  /**
   * Returns how its tensors lie in memory unless the body says otherwise.
   *
   * @return the placement
   */
  public Placement placement() {
    return placement;
  }

  /**
   * Returns the profiles that it belongs to.
   *
   * @return at least one
   */
  public Set<Profile> profiles() {
    return EnumSet.copyOf(profiles);
  }

  /**
   * Returns the specs that a provider must support for the case to run.
   *
   * @return the specs; empty for most device contract cases
   */
  public List<OperationSpec<?>> specs() {
    return specs;
  }

  /**
   * Returns about how much the oracle has to compute.
   *
   * @return floating point operations
   */
  public long flops() {
    return flops;
  }

  Body body() {
    return body;
  }

  @Override
  public String toString() {
    return id();
  }

  /** Builds a {@link ConformanceCase}. */
  public static final class Builder {
    private final String operation;
    private final DataType dataType;
    private final String sizes;
    private final String feature;
    private final Family family;
    private Placement placement = Placement.CONTIGUOUS;
    private final Set<Profile> profiles = EnumSet.noneOf(Profile.class);
    private final List<OperationSpec<?>> specs = new ArrayList<>();
    private long flops;

    private Builder(
        String operation, DataType dataType, String sizes, String feature, Family family) {
      this.operation = operation;
      this.dataType = dataType;
      this.sizes = sizes;
      this.feature = feature;
      this.family = family;
    }

    /**
     * Names a spec that must be supported. May be called several times.
     *
     * @param spec the spec
     * @return this
     */
    public Builder spec(OperationSpec<?> spec) {
      specs.add(spec);
      return this;
    }

    /**
     * Adds profiles.
     *
     * @param profiles beyond those that the data type implies
     * @return this
     */
    public Builder profiles(Profile... profiles) {
      this.profiles.addAll(List.of(profiles));
      return this;
    }

    /**
     * Sets how tensors lie in memory.
     *
     * @param placement the default of the case's tensors
     * @return this
     */
    public Builder placement(Placement placement) {
      this.placement = placement;
      return this;
    }

    /**
     * Sets what the oracle has to compute.
     *
     * @param flops floating point operations, roughly
     * @return this
     */
    public Builder flops(long flops) {
      this.flops = flops;
      return this;
    }

    /**
     * Ends the case.
     *
     * @param body what it does
     * @return the case
     */
    public ConformanceCase runs(Body body) {
      return new ConformanceCase(this, body);
    }
  }
}
