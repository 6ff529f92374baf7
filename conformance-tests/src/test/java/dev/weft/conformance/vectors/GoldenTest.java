package dev.weft.conformance.vectors;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostTensor;
import dev.weft.Weft;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** Both CPU providers agree with what the original implementations returned. */
class GoldenTest {
  @TestFactory
  Stream<DynamicTest> referenceAgreesWithTheOriginals() {
    return everyVectorOn("reference");
  }

  @TestFactory
  Stream<DynamicTest> cpuAgreesWithTheOriginals() {
    return everyVectorOn("cpu");
  }

  /**
   * Every vector in its own type, and in the others as far as {@link CaseComparison} judges those.
   */
  private static Stream<DynamicTest> everyVectorOn(String backend) {
    List<DynamicTest> tests = new ArrayList<>();
    for (String name : GoldenVectors.names()) {
      CaseFile file = GoldenVectors.open(name);
      for (DataType type : List.of(DataType.F32, DataType.BF16, DataType.F16)) {
        tests.add(
            dynamicTest(
                backend + "/" + name + "/" + type.text(), () -> assertAgrees(backend, file, type)));
      }
    }
    return tests.stream();
  }

  private static void assertAgrees(String backend, CaseFile file, DataType type) {
    try (Device device = Weft.open(backend)) {
      Map<String, HostTensor> outputs = CaseRunner.run(device, file, type);
      CaseComparison comparison = CaseComparison.of(file, type, outputs);
      assertTrue(comparison.passed(), comparison::toString);
    }
  }
}
