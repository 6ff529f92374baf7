package dev.weft.conformance.vectors;

import dev.weft.DataType;
import dev.weft.HostTensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Compares computed outputs with the ones that a case expects.
 *
 * <p>Integer outputs and convolution states must be equal, the latter after rounding what is
 * expected to the type of the run. Floating outputs {@code x} must lie near the expected {@code e}:
 *
 * <ul>
 *   <li>of an f32 case run in f32, {@code |x - e| <= 1e-5 (1 + |e|)};
 *   <li>otherwise (a case made in bf16 or f16, or a run in one of them), {@code |x - e| <= 2^-7 |e|
 *       + 1e-2}.
 * </ul>
 *
 * <p>These are bounds for the vectors that come with Weft, whose values are of order 1. They are
 * not the tolerance law of the conformance suite, which follows each element's own condition. A run
 * in a narrower type than the case was made in rounds the block means of MoBA too, so where two
 * blocks score nearly the same it may rightly choose another: the comparison then fails, and says
 * nothing about the backend. The attribute {@code gate_margin} tells how near the nearest two are.
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

  /**
   * One output's result. The worst element is the one with the largest error relative to what is
   * allowed.
   *
   * @param name the output's name
   * @param exact true if it had to be equal
   * @param elements how many elements it has
   * @param wrong how many were out of bounds
   * @param maxError the largest {@code |x - e|} of all elements; NaN if one is NaN and should not
   *     be
   * @param worst row-major index of the worst element; -1 if there is no element
   * @param got what was computed there
   * @param expected what was expected there
   * @param allowed the largest error allowed there
   * @param position the worst element's index in each dimension, such as {@code [3, 0, 17]}
   */
  public record Output(
      String name,
      boolean exact,
      long elements,
      long wrong,
      double maxError,
      long worst,
      double got,
      double expected,
      double allowed,
      String position) {
    /**
     * Tells whether every element is within its bound.
     *
     * @return true if so
     */
    public boolean passed() {
      return wrong == 0;
    }

    /** Returns the verdict in one line. */
    @Override
    public String toString() {
      String worstText =
          worst < 0
              ? "no elements"
              : String.format(
                  Locale.ROOT,
                  "max error %.3g; worst at %s: got %.9g, expected %.9g, allowed error %.3g",
                  maxError,
                  position,
                  got,
                  expected,
                  allowed);
      return name
          + ": "
          + (passed() ? "ok" : wrong + " of " + elements + " wrong")
          + (exact ? " (exact), " : ", ")
          + worstText;
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
    boolean exact = !got.dataType().isFloating() || name.equals("conv_states");
    boolean wide = file.dataType() == DataType.F32 && type == DataType.F32;
    long wrong = 0;
    long worst = -1;
    double worstBadness = Double.NEGATIVE_INFINITY;
    double maxError = 0;
    double worstAllowed = 0;
    for (long i = 0; i < got.elements(); i++) {
      double x = got.get(i);
      double e = exact ? got.dataType().round(expected.get(i)) : expected.get(i);
      double allowed = exact ? 0 : wide ? 1e-5 * (1 + Math.abs(e)) : 0x1p-7 * Math.abs(e) + 1e-2;
      // Equal infinities and two NaNs agree; their difference would be NaN.
      double error = x == e || (Double.isNaN(x) && Double.isNaN(e)) ? 0 : Math.abs(x - e);
      boolean right = error == 0 || (error <= allowed && Double.isFinite(e));
      if (!right) {
        wrong++;
      }
      double badness = badness(error, allowed);
      if (badness > worstBadness) {
        worstBadness = badness;
        worst = i;
        worstAllowed = allowed;
      }
      maxError = Math.max(maxError, error); // NaN stays
    }
    return new Output(
        name,
        exact,
        got.elements(),
        wrong,
        maxError,
        worst,
        worst < 0 ? 0 : got.get(worst),
        worst < 0 ? 0 : expected.get(worst),
        worstAllowed,
        position(worst, got.shape()));
  }

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
