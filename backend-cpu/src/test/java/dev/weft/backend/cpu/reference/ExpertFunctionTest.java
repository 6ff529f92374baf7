package dev.weft.backend.cpu.reference;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.DataType;
import dev.weft.moe.ExpertActivation;
import dev.weft.moe.MoeDispatchSpec;
import org.junit.jupiter.api.Test;

class ExpertFunctionTest {
  private static ExpertFunction function(ExpertActivation activation) {
    return new ExpertFunction(
        MoeDispatchSpec.builder()
            .dataType(DataType.F32)
            .hidden(1)
            .intermediate(1)
            .experts(1)
            .topK(1)
            .activation(activation)
            .swigluLimit(2)
            .swigluAlpha(1.5f)
            .build());
  }

  @Test
  void normalDistributionIsRightInTheMiddleAndFarInTheTail() {
    // Abramowitz and Stegun, table 26.1 and 26.2.
    assertEquals(0.5, ExpertFunction.normalCdf(0), 1e-16);
    assertEquals(0.841344746068543, ExpertFunction.normalCdf(1), 1e-15);
    assertEquals(0.00134989803163009, ExpertFunction.normalCdf(-3), 1e-17);
    assertEquals(2.866515718791939e-7, ExpertFunction.normalCdf(-5), 1e-20);
    assertEquals(6.220960574271785e-16, ExpertFunction.normalCdf(-8), 1e-29);
    // The series and the fraction meet at |x| = 2 sqrt 2.
    double x = -2 * Math.sqrt(2);
    assertEquals(
        ExpertFunction.normalCdf(Math.nextDown(x)),
        ExpertFunction.normalCdf(Math.nextUp(x)),
        1e-16);
  }

  @Test
  void valuesAreTheFormulas() {
    double g = 0.7;
    double u = -1.3;
    double sigmoid = 1 / (1 + Math.exp(-g));
    assertEquals(g * sigmoid * u, function(ExpertActivation.SWIGLU).value(g, u), 1e-15);
    double tanh = Math.tanh(Math.sqrt(2 / Math.PI) * (g + 0.044715 * g * g * g));
    assertEquals(
        0.5 * g * (1 + tanh) * u, function(ExpertActivation.GEGLU_TANH).value(g, u), 1e-15);
    assertEquals(g * 0.758036347776927 * u, function(ExpertActivation.GEGLU).value(g, u), 1e-14);
    assertEquals(4, function(ExpertActivation.RELU2).value(g, 2));
    assertEquals(0, function(ExpertActivation.RELU2).value(g, -2));
    ExpertFunction clamped = function(ExpertActivation.SWIGLU_CLAMPED);
    assertEquals(2 / (1 + Math.exp(-3)) * 3, clamped.value(9, 9), 1e-14);
    assertEquals(g / (1 + Math.exp(-1.5 * g)) * -1, clamped.value(g, -9), 1e-15);
  }

  @Test
  void derivativesAreFiniteDifferences() {
    double h = 1e-6;
    for (ExpertActivation activation : ExpertActivation.values()) {
      ExpertFunction f = function(activation);
      for (double g : new double[] {-6, -1.9, -0.3, 0.4, 1.7, 5}) {
        for (double u : new double[] {-3, -0.9, 0.6, 1.8, 4}) {
          String at = activation + " " + g + " " + u;
          assertEquals((f.value(g + h, u) - f.value(g - h, u)) / (2 * h), f.byGate(g, u), 1e-8, at);
          assertEquals((f.value(g, u + h) - f.value(g, u - h)) / (2 * h), f.byUp(g, u), 1e-8, at);
        }
      }
    }
  }
}
