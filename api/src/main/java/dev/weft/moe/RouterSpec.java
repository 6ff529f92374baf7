package dev.weft.moe;

import java.util.Locale;
import java.util.StringJoiner;
import org.jspecify.annotations.Nullable;

/**
 * How experts are chosen and weighed. All of it is F32. Immutable; made by {@link #builder()}.
 *
 * <p>{@code key = score + correction bias}. Without a correction bias keys compare by raw logit, so
 * that a saturated score cannot reorder; groups scored by their best then do too. With groups, the
 * {@code topkGroups} groups of highest group score stay and the keys of all others become minus
 * infinity. The topK experts of highest key are taken, in falling order; ties go to the lower
 * expert, NaN and minus infinity come last, lower index first. The weight of a chosen expert is its
 * score (without the bias), normalised, times {@code scalingFactor}.
 */
public final class RouterSpec {
  private final Source source;
  private final Score score;
  private final boolean routerBias;
  private final boolean correctionBias;
  private final int groups;
  private final int topkGroups;
  private final GroupScore groupScore;
  private final Normalize normalize;
  private final float epsilon;
  private final float scalingFactor;

  /** Where the routing comes from. */
  public enum Source {
    /** Logits are x * router_weight^T (+ router bias). */
    ROUTER,
    /** Logits are given. */
    LOGITS,
    /** Expert ids and weights are given, and used as they are. */
    GIVEN
  }

  /** What becomes of a logit. */
  public enum Score {
    /** Itself. */
    IDENTITY,
    /** Softmax over all experts. */
    SOFTMAX,
    /** Sigmoid. */
    SIGMOID
  }

  /** The score of a group of experts. */
  public enum GroupScore {
    /** Its best key. */
    BEST,
    /** The sum of its two best keys. */
    TOP2_SUM
  }

  /** What becomes of the chosen scores. */
  public enum Normalize {
    /** Nothing. */
    NONE,
    /** s / (sum + epsilon); 0 where the denominator is 0. */
    SUM,
    /** Softmax over the chosen. */
    SOFTMAX
  }

  private RouterSpec(Builder given) {
    source = given.source;
    // What is given is used as it is: no other option says anything, so none may tell specs apart.
    Builder b = source == Source.GIVEN && !given.routerBias ? new Builder() : given;
    score = b.score;
    routerBias = b.routerBias;
    correctionBias = b.correctionBias;
    groups = b.groups;
    topkGroups = b.topkGroups;
    groupScore = b.groupScore;
    normalize = b.normalize;
    epsilon = b.epsilon;
    scalingFactor = b.scalingFactor;
    if (groups < 1 || topkGroups < 1 || topkGroups > groups) {
      throw new IllegalArgumentException(
          "router: groups: expected 1 <= topkGroups <= groups, but groups="
              + groups
              + ", topkGroups="
              + topkGroups);
    }
    if (!Float.isFinite(scalingFactor) || !(epsilon >= 0) || !Float.isFinite(epsilon)) {
      throw new IllegalArgumentException(
          "router: expected a finite scalingFactor and a finite epsilon of at least 0, but were "
              + scalingFactor
              + " and "
              + epsilon);
    }
    if (routerBias && source != Source.ROUTER) {
      throw new IllegalArgumentException(
          "router: routerBias: only Source.ROUTER has one, but the source is " + source);
    }
  }

  /**
   * Starts a router: softmax scores, no groups, no biases, no normalisation.
   *
   * @return a builder
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Returns where the routing comes from.
   *
   * @return the source
   */
  public Source source() {
    return source;
  }

  /**
   * Returns what becomes of a logit.
   *
   * @return the score
   */
  public Score score() {
    return score;
  }

  /**
   * Tells whether the router has a bias.
   *
   * @return true if so
   */
  public boolean routerBias() {
    return routerBias;
  }

  /**
   * Tells whether a bias is added to scores for selection.
   *
   * @return true if so
   */
  public boolean correctionBias() {
    return correctionBias;
  }

  /**
   * Returns the number of groups.
   *
   * @return 1 for no grouping
   */
  public int groups() {
    return groups;
  }

  /**
   * Returns how many groups stay.
   *
   * @return at most {@link #groups()}
   */
  public int topkGroups() {
    return topkGroups;
  }

  /**
   * Returns how groups are scored.
   *
   * @return the group score
   */
  public GroupScore groupScore() {
    return groupScore;
  }

  /**
   * Returns what becomes of the chosen scores.
   *
   * @return the normalisation
   */
  public Normalize normalize() {
    return normalize;
  }

  /**
   * Returns what is added to the sum.
   *
   * @return epsilon of {@link Normalize#SUM}
   */
  public float epsilon() {
    return epsilon;
  }

  /**
   * Returns the factor of every weight.
   *
   * @return 1 by default
   */
  public float scalingFactor() {
    return scalingFactor;
  }

  /**
   * Tells whether this computes keys from logits.
   *
   * @return false for {@link Source#GIVEN}
   */
  public boolean hasLogits() {
    return source != Source.GIVEN;
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof RouterSpec router && router.toString().equals(toString());
  }

  @Override
  public int hashCode() {
    return toString().hashCode();
  }

  /** Returns every option away from its default. */
  @Override
  public String toString() {
    StringJoiner text = new StringJoiner("/", "{", "}");
    text.add(source.name().toLowerCase(Locale.ROOT));
    if (source == Source.GIVEN) {
      return text.toString();
    }
    text.add(score.name().toLowerCase(Locale.ROOT));
    if (routerBias) {
      text.add("bias");
    }
    if (correctionBias) {
      text.add("correction");
    }
    if (groups != 1) {
      text.add(
          "groups:"
              + topkGroups
              + "of"
              + groups
              + ":"
              + groupScore.name().toLowerCase(Locale.ROOT));
    }
    if (normalize != Normalize.NONE) {
      text.add(
          normalize.name().toLowerCase(Locale.ROOT)
              + (normalize == Normalize.SUM && epsilon != 0 ? ":" + epsilon : ""));
    }
    if (scalingFactor != 1) {
      text.add("x" + scalingFactor);
    }
    return text.toString();
  }

  /** Builds a {@link RouterSpec}. */
  public static final class Builder {
    private Source source = Source.ROUTER;
    private Score score = Score.SOFTMAX;
    private boolean routerBias;
    private boolean correctionBias;
    private int groups = 1;
    private int topkGroups = 1;
    private GroupScore groupScore = GroupScore.BEST;
    private Normalize normalize = Normalize.NONE;
    private float epsilon;
    private float scalingFactor = 1;

    private Builder() {}

    /**
     * Sets where the routing comes from.
     *
     * @param source ROUTER by default
     * @return this
     */
    public Builder source(Source source) {
      this.source = source;
      return this;
    }

    /**
     * Sets what becomes of a logit.
     *
     * @param score SOFTMAX by default
     * @return this
     */
    public Builder score(Score score) {
      this.score = score;
      return this;
    }

    /**
     * Gives the router a bias.
     *
     * @param routerBias false by default
     * @return this
     */
    public Builder routerBias(boolean routerBias) {
      this.routerBias = routerBias;
      return this;
    }

    /**
     * Adds a bias to scores for selection only.
     *
     * @param correctionBias false by default
     * @return this
     */
    public Builder correctionBias(boolean correctionBias) {
      this.correctionBias = correctionBias;
      return this;
    }

    /**
     * Groups the experts.
     *
     * @param groups how many, a divisor of the experts
     * @param topkGroups how many stay
     * @param groupScore how they are scored
     * @return this
     */
    public Builder groups(int groups, int topkGroups, GroupScore groupScore) {
      this.groups = groups;
      this.topkGroups = topkGroups;
      this.groupScore = groupScore;
      return this;
    }

    /**
     * Sets what becomes of the chosen scores.
     *
     * @param normalize NONE by default
     * @return this
     */
    public Builder normalize(Normalize normalize) {
      this.normalize = normalize;
      return this;
    }

    /**
     * Sets what is added to the sum.
     *
     * @param epsilon 0 by default
     * @return this
     */
    public Builder epsilon(float epsilon) {
      this.epsilon = epsilon;
      return this;
    }

    /**
     * Sets the factor of every weight.
     *
     * @param scalingFactor 1 by default
     * @return this
     */
    public Builder scalingFactor(float scalingFactor) {
      this.scalingFactor = scalingFactor;
      return this;
    }

    /**
     * Makes the router.
     *
     * @return an immutable router
     */
    public RouterSpec build() {
      return new RouterSpec(this);
    }
  }
}
