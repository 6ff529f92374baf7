package dev.weft.conformance.device;

import dev.weft.conformance.CaseCatalogue;
import dev.weft.conformance.ConformanceCase;
import java.util.stream.Stream;

/** The cases of the device contract. */
public final class DeviceCatalogue implements CaseCatalogue {
  /** Creates the catalogue. */
  public DeviceCatalogue() {}

  @Override
  public Stream<ConformanceCase> cases() {
    return Stream.of();
  }
}
