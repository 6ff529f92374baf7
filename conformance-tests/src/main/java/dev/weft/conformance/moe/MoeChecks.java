package dev.weft.conformance.moe;

import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.Operand;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatch;
import dev.weft.moe.MoeForward;
import dev.weft.spi.Expected;
import java.util.Arrays;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Launches a scenario and holds everything that it left to the oracle. */
final class MoeChecks {
  private MoeChecks() {}

  /** The case of a scenario: forward, and backward where the spec has it. */
  static ConformanceCase of(MoeScenario scenario) {
    return ConformanceCase.of(
            scenario.isTraining() ? "moe.backward" : "moe.forward",
            scenario.spec.dataType(),
            scenario.sizes(),
            scenario.feature,
            scenario.family)
        .spec(scenario.spec)
        .profiles(scenario.profiles())
        .placement(scenario.placement)
        .flops(scenario.flops())
        .runs(c -> run(c, scenario));
  }

  private static void run(CaseContext c, MoeScenario scenario) {
    MoeTensors tensors = new MoeTensors(c, scenario);
    MoeDispatch moe = c.tested().prepare(scenario.spec);
    MoeForward forward = tensors.forward(c.tested());
    c.launch(stream -> moe.forward(stream, forward));
    forward(c, scenario, tensors);
    if (scenario.isTraining()) {
      backward(c, scenario, tensors, moe);
    }
  }

  /** Checks what forward left; its outputs are inputs afterwards. */
  static void forward(CaseContext c, MoeScenario scenario, MoeTensors tensors) {
    Tensor reported = reported(c, scenario, tensors);
    if (reported != null) {
      c.requireNoFault(
          c.oracle().moeSelectionFault(scenario.spec, tensors.forward(c.reference()), reported));
    }
    Map<String, Expected> expected =
        c.oracle().moeForward(scenario.spec, tensors.forward(c.reference()), reported);
    for (Map.Entry<String, Operand> output : tensors.forwardOutputs()) {
      if (!output.getKey().endsWith("ids")) {
        check(c, scenario, output.getValue(), expected.get(output.getKey()));
        c.settle(output.getValue());
      }
    }
  }

  /**
   * Settles the ids that the backend wrote, all of which have to agree, and gives them to the
   * oracle; null where it wrote none that it chose itself.
   */
  private static @Nullable Tensor reported(
      CaseContext c, MoeScenario scenario, MoeTensors tensors) {
    Tensor reported = null;
    HostTensor first = scenario.isGiven() ? c.read(tensors.get("givenIds")) : null;
    for (Map.Entry<String, Operand> output : tensors.forwardOutputs()) {
      if (output.getKey().endsWith("ids")) {
        Operand ids = output.getValue();
        first = first == null ? c.read(ids) : first;
        c.checkExact(ids, written(first, scenario));
        c.settle(ids);
        reported = c.reference().of(ids);
      }
    }
    return scenario.isGiven() ? null : reported;
  }

  /** These values in the rows of tokens, and nothing in those of padding. */
  private static Expected written(HostTensor values, MoeScenario scenario) {
    Expected expected = Expected.exact(values.toDoubles());
    int columns = scenario.spec.topK();
    Arrays.fill(expected.error(), scenario.rows() * columns, scenario.tokens * columns, Double.NaN);
    return expected;
  }

  private static void backward(
      CaseContext c, MoeScenario scenario, MoeTensors tensors, MoeDispatch moe) {
    Iterable<String> gradients = tensors.gradients();
    MoeBackward backward = tensors.backward(c.tested());
    if (scenario.spec.repeatableBackward()) {
      c.launch(stream -> moe.backward(stream, backward));
    } else {
      c.launchOnce(stream -> moe.backward(stream, backward));
    }
    Map<String, Expected> expected =
        c.oracle().moeBackward(scenario.spec, tensors.backward(c.reference()));
    for (String gradient : gradients) {
      check(c, scenario, tensors.get(gradient), expected.get(gradient));
    }
  }

  private static void check(
      CaseContext c, MoeScenario scenario, Operand output, @Nullable Expected expected) {
    if (scenario.isExact()) {
      c.checkExact(output, expected);
    } else {
      c.check(output, expected);
    }
  }
}
