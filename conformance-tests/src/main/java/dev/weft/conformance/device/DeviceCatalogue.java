package dev.weft.conformance.device;

import dev.weft.DataType;
import dev.weft.conformance.CaseCatalogue;
import dev.weft.conformance.ConformanceCase;
import dev.weft.conformance.Family;
import java.util.stream.Stream;

/** The cases of the device contract. */
public final class DeviceCatalogue implements CaseCatalogue {
  /** Creates the catalogue. */
  public DeviceCatalogue() {}

  @Override
  public Stream<ConformanceCase> cases() {
    return Stream.of(
            ProviderCases.cases(),
            TransferCases.cases(),
            StreamCases.cases(),
            MemoryCases.cases(),
            LifetimeCases.cases(),
            GraphCases.cases(),
            LaunchCases.cases(),
            ArgumentCases.cases())
        .flatMap(cases -> cases);
  }

  /** A case that needs no spec. */
  static ConformanceCase deviceCase(String operation, String feature, ConformanceCase.Body body) {
    return ConformanceCase.of(operation, DataType.F32, "", feature, Family.RANDOM).runs(body);
  }
}
