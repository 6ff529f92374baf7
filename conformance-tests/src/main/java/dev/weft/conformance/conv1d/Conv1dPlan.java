package dev.weft.conformance.conv1d;

import dev.weft.conformance.CaseContext;
import dev.weft.conformance.Family;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Placement;
import dev.weft.conformance.Side;
import dev.weft.conformance.Values;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.spi.Expected;
import java.util.Arrays;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * The sequences and slots of a case. By default there are no states; with them, slots are taken in
 * descending order, two are left over, and every third sequence starts from zeros.
 */
final class Conv1dPlan {
  final int[] lengths;
  int padding;
  int columns;
  int slots;
  int[] indices;
  int[] initial;
  int @Nullable [] positions;
  @Nullable Placement statePlacement;
  @Nullable Values stateValues;
  @Nullable Values inputs;
  boolean initialStatesOut;

  private Conv1dPlan(int[] lengths) {
    this.lengths = lengths;
    int count = lengths.length;
    slots = count + 2;
    indices = new int[count];
    initial = new int[count];
    for (int b = 0; b < count; b++) {
      indices[b] = count - b;
      initial[b] = b % 3 == 1 ? 0 : 1;
    }
  }

  static Conv1dPlan of(int... lengths) {
    return new Conv1dPlan(lengths.clone());
  }

  /** Lengths 0, 1, ... most, then some longer ones. */
  static Conv1dPlan upTo(int most) {
    int[] lengths = new int[most + 3];
    for (int i = 0; i <= most; i++) {
      lengths[i] = i;
    }
    lengths[most + 1] = 17;
    lengths[most + 2] = 2;
    return of(lengths);
  }

  /** Rows behind the last sequence, NaN in x. */
  Conv1dPlan padding(int rows) {
    padding = rows;
    return this;
  }

  /** Gives every sequence a slot of some columns. */
  Conv1dPlan states(int columns) {
    this.columns = columns;
    return this;
  }

  Conv1dPlan slots(int slots) {
    this.slots = slots;
    return this;
  }

  Conv1dPlan indices(int... indices) {
    this.indices = indices.clone();
    return this;
  }

  Conv1dPlan initial(int... initial) {
    this.initial = initial.clone();
    return this;
  }

  /** Makes the slots rings. */
  Conv1dPlan positions(int... positions) {
    this.positions = positions.clone();
    return this;
  }

  Conv1dPlan statePlacement(Placement placement) {
    statePlacement = placement;
    return this;
  }

  Conv1dPlan stateValues(Values values) {
    stateValues = values;
    return this;
  }

  Conv1dPlan inputs(Values values) {
    inputs = values;
    return this;
  }

  Conv1dPlan initialStatesOut() {
    initialStatesOut = true;
    return this;
  }

  int count() {
    return lengths.length;
  }

  int tokens() {
    return Arrays.stream(lengths).sum();
  }

  int rows() {
    return tokens() + padding;
  }

  int[] cuSeqlens() {
    int[] cu = new int[lengths.length + 1];
    for (int b = 0; b < lengths.length; b++) {
      cu[b + 1] = cu[b] + lengths[b];
    }
    return cu;
  }

  /** The sizes, for ids. */
  String text(CausalConv1dSpec spec) {
    String sizes =
        lengths.length > 12
            ? "B=" + lengths.length + ",T=" + tokens()
            : "L="
                + Arrays.stream(lengths).mapToObj(String::valueOf).collect(Collectors.joining("+"));
    return "C="
        + spec.channels()
        + ",W="
        + spec.width()
        + ','
        + sizes
        + (padding > 0 ? "+pad" + padding : "")
        + (columns > 0 ? ",S=" + columns : "")
        + types(spec);
  }

  /** The types that differ from the main one, for ids. */
  static String types(CausalConv1dSpec spec) {
    StringBuilder text = new StringBuilder();
    if (spec.weightType() != spec.dataType()) {
      text.append(",weight=").append(spec.weightType().text());
    }
    if (spec.stateType() != spec.dataType()) {
      text.append(",state=").append(spec.stateType().text());
    }
    return text.toString();
  }

  // ---- tensors that the launches share ----

  /** The case's values, NaN in the padding. */
  Operand rowsInput(CaseContext c, String name, CausalConv1dSpec spec) {
    return c.tensor(name, spec.dataType(), rows(), spec.channels())
        .values(inputs(c).rows(tokens(), rows(), Double.NaN))
        .input();
  }

  Values inputs(CaseContext c) {
    return inputs == null ? c.testCase().family().draws() : inputs;
  }

  /** A tensor of states, laid as the plan says. */
  CaseContext.TensorOf states(
      CaseContext c, String name, CausalConv1dSpec spec, int first, int lastColumns) {
    CaseContext.TensorOf tensor =
        c.tensor(name, spec.stateType(), first, spec.channels(), lastColumns);
    if (statePlacement != null) {
      tensor.placement(statePlacement);
    }
    if (stateValues != null) {
      tensor.values(stateValues);
    }
    return tensor;
  }

  /** Weight and bias, and their binding on either side. */
  static final class Weights {
    private final CausalConv1dSpec spec;
    private final Operand weight;
    private final @Nullable Operand bias;

    Weights(CaseContext c, CausalConv1dSpec spec) {
      this.spec = spec;
      weight = c.tensor("weight", spec.weightType(), spec.channels(), spec.width()).input();
      bias = spec.bias() ? c.tensor("bias", spec.weightType(), spec.channels()).input() : null;
    }

    Conv1dBinding on(Side side) {
      return side.once(
          "weights", () -> side.prepare(spec).bind(side.of(weight), side.ofNullable(bias)));
    }
  }

  /** Whether sums are exact in any order and nothing but sums is computed. */
  static boolean isExact(CaseContext c, CausalConv1dSpec spec) {
    Family family = c.testCase().family();
    return spec.activation() == Activation.NONE
        && (family == Family.EXACT || family == Family.RAMP || family == Family.TIES);
  }

  /** Holds an output to the law, or where sums are exact to the very value. */
  static void check(
      CaseContext c, CausalConv1dSpec spec, Operand got, @Nullable Expected expected) {
    if (isExact(c, spec)) {
      c.checkExact(got, expected);
    } else {
      c.check(got, expected);
    }
  }
}
