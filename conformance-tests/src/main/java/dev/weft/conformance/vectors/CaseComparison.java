package dev.weft.conformance.vectors;

import dev.weft.DataType;
import dev.weft.HostTensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Compares computed outputs with the ones that a case expects, each by its {@link Rule}.
 *
 * <p>The rules are for vectors like those that come with Weft, whose values are of order 1. They
 * are not the tolerance law of the conformance suite, which follows each element's own condition.
 *
 * @param file the case
 * @param type the type of the run
 * @param outputs one result for each output that the case expects, in the file's order
 */
public record CaseComparison(CaseFile file, DataType type, List<Output> outputs) {
  /** Copies the list. */
  public CaseComparison {
    outputs = List.copyOf(outputs);
  }

  /** How an output {@code x} is compared with the expected {@code e}. */
  public enum Rule {
    /**
     * Equal. Integers and convolution states, the latter after {@code e} was rounded to the type of
     * the run.
     */
    EXACT("equal"),
    /** {@code |x - e| <= 1e-5 (1 + |e|)} for every element. A case made in f32, run in f32. */
    F32("|x-e| <= 1e-5 (1+|e|)"),
    /**
     * {@code |x - e| <= 2^-7 |e| + 1e-2} for every element. A case made in bf16 or f16, run in that
     * type or a finer one.
     */
    HALF("|x-e| <= 2^-7 |e| + 1e-2"),
    /**
     * {@code ||x - e|| <= 2^-4 ||e|| + 1e-2 sqrt(n)} over all n elements. A case run in a coarser
     * type than it was made in, such as one of f32 in bf16. Elements may then rightly be far off:
     * sums of rounded terms cancel, and where two blocks score nearly the same (the attribute
     * {@code gate_margin}) a rounded block mean chooses the other. This finds what is plainly
     * wrong, and no more.
     */
    NORM("||x-e|| <= 2^-4 ||e|| + 1e-2 sqrt(n)");

    private final String formula;

    Rule(String formula) {
      this.formula = formula;
    }

    /**
     * Returns the rule in one formula.
     *
     * @return what must hold of the output x and the expected e
     */
    public String formula() {
      return formula;
    }

    static Rule of(String output, HostTensor got, DataType made, DataType run) {
      if (!got.dataType().isFloating() || output.equals("conv_states")) {
        return EXACT;
      }
      if (run.unitRoundoff() > made.unitRoundoff()) {
        return NORM;
      }
      return made == DataType.F32 ? F32 : HALF;
    }

    /** The largest error of one element; for {@link #NORM} what {@link #HALF} would allow. */
    double allowed(double e) {
      return switch (this) {
        case EXACT -> 0;
        case F32 -> 1e-5 * (1 + Math.abs(e));
        case HALF, NORM -> 0x1p-7 * Math.abs(e) + 1e-2;
      };
    }
  }

  /**
   * One output's result. The worst element is the one with the largest error relative to what is
   * allowed there.
   *
   * @param name the output's name
   * @param rule how it was compared
   * @param elements how many elements it has
   * @param passed true if the rule holds
   * @param wrong how many elements were beyond their bound; for {@link Rule#NORM} beyond that of
   *     {@link Rule#HALF}, but 0 if the rule holds
   * @param share how much of what is allowed was needed: the largest {@code |x - e| / allowed}, for
   *     {@link Rule#NORM} that of the norms; above 1 is wrong
   * @param maxError the largest {@code |x - e|}; NaN if one is NaN and should not be
   * @param relativeError {@code ||x - e|| / ||e||}; 0 if both are 0
   * @param worst row-major index of the worst element; -1 if there is no element
   * @param position its index in each dimension, such as {@code [3, 0, 17]}
   * @param got what was computed there
   * @param expected what was expected there
   * @param allowed the largest error allowed there
   */
  public record Output(
      String name,
      Rule rule,
      long elements,
      boolean passed,
      long wrong,
      double share,
      double maxError,
      double relativeError,
      long worst,
      String position,
      double got,
      double expected,
      double allowed) {
    /**
     * Tells whether the output had to be equal.
     *
     * @return true for {@link Rule#EXACT}
     */
    public boolean exact() {
      return rule == Rule.EXACT;
    }

    /** Returns the verdict in one line. */
    @Override
    public String toString() {
      String verdict =
          passed
              ? "ok"
              : rule == Rule.NORM ? "wrong as a whole" : wrong + " of " + elements + " wrong";
      String worstText =
          worst < 0
              ? "no elements"
              : String.format(
                  Locale.ROOT,
                  "max error %.3g, relative %.2g; worst at %s: got %.9g, expected %.9g, allowed"
                      + " error %.3g",
                  maxError,
                  relativeError,
                  position,
                  got,
                  expected,
                  allowed);
      return name + ": " + verdict + " by " + rule.formula() + ": " + worstText;
    }
  }

  /**
   * Compares.
   *
   * @param file the case
   * @param type the type of the run
   * @param got the outputs that {@link CaseRunner#run} returned
   * @return the results
   * @throws VectorFormatException if the case expects nothing, or an output that this operation
   *     does not have or that has another shape or kind
   */
  public static CaseComparison of(CaseFile file, DataType type, Map<String, HostTensor> got) {
    if (file.expected().isEmpty()) {
      throw new VectorFormatException(
          file.file(),
          "tensors: expected some named expected.*, to compare with, but there is none");
    }
    List<Output> outputs = new ArrayList<>();
    file.expected()
        .forEach((name, expected) -> {
          HostTensor output = got.get(name);
          if (output == null) {
            throw new VectorFormatException(
                file.file(),
                "tensor expected."
                    + name
                    + ": expected one of the outputs "
                    + got.keySet()
                    + " that the inputs allow");
          }
          if (!Arrays.equals(output.shape(), expected.shape())
              || output.dataType().isFloating() != expected.dataType().isFloating()) {
            throw new VectorFormatException(
                file.file(),
                "tensor expected." + name + ": expected " + output + ", but was " + expected);
          }
          outputs.add(compare(file, type, name, output, expected));
        });
    return new CaseComparison(file, type, outputs);
  }

  private static Output compare(
      CaseFile file, DataType type, String name, HostTensor got, HostTensor expected) {
    Rule rule = Rule.of(name, got, file.dataType(), type);
    long wrong = 0;
    long worst = -1;
    double worstBadness = Double.NEGATIVE_INFINITY;
    double maxError = 0;
    double errors = 0;
    double norm = 0;
    for (long i = 0; i < got.elements(); i++) {
      double x = got.get(i);
      double e = rule == Rule.EXACT ? got.dataType().round(expected.get(i)) : expected.get(i);
      // Equal infinities and two NaNs agree; their difference would be NaN.
      double error = x == e || (Double.isNaN(x) && Double.isNaN(e)) ? 0 : Math.abs(x - e);
      double badness = badness(error, rule.allowed(e));
      if (!(badness <= 1)) {
        wrong++;
      }
      if (badness > worstBadness) {
        worstBadness = badness;
        worst = i;
      }
      maxError = Math.max(maxError, error); // NaN stays
      errors += error * error;
      norm += Double.isFinite(e) ? e * e : 0;
    }
    double most = 0x1p-4 * Math.sqrt(norm) + 1e-2 * Math.sqrt((double) got.elements());
    double share = rule == Rule.NORM ? badness(Math.sqrt(errors), most) : Math.max(worstBadness, 0);
    return new Output(
        name,
        rule,
        got.elements(),
        share <= 1,
        share <= 1 ? 0 : wrong,
        share,
        maxError,
        errors == 0 ? 0 : Math.sqrt(errors / norm),
        worst,
        position(worst, got.shape()),
        worst < 0 ? 0 : got.get(worst),
        worst < 0 ? 0 : expected.get(worst),
        worst < 0 ? 0 : rule.allowed(expected.get(worst)));
  }

  /** The error in units of what is allowed; infinite for one of NaN. */
  private static double badness(double error, double allowed) {
    double ratio = error == 0 ? 0 : error / allowed;
    return Double.isNaN(ratio) ? Double.POSITIVE_INFINITY : ratio;
  }

  private static String position(long index, long[] shape) {
    if (index < 0) {
      return "[]";
    }
    long[] position = new long[shape.length];
    long rest = index;
    for (int d = shape.length - 1; d >= 0; d--) {
      position[d] = rest % shape[d];
      rest /= shape[d];
    }
    return Arrays.toString(position);
  }

  /**
   * Tells whether every output is right.
   *
   * @return true if all passed
   */
  public boolean passed() {
    return outputs.stream().allMatch(Output::passed);
  }

  /** Returns the verdict of every output, a line each. */
  @Override
  public String toString() {
    StringBuilder text = new StringBuilder(file + " in " + type.text());
    outputs.forEach(output -> text.append(System.lineSeparator()).append("  ").append(output));
    return text.toString();
  }
}
