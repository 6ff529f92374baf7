package dev.weft.conformance;

import dev.weft.spi.KernelProvider;
import java.util.EnumSet;
import java.util.Set;

/** The backend {@code cpu} has all that the reference has. */
class CpuConformanceTest extends KernelProviderConformance {
  @Override
  protected KernelProvider provider() {
    return ReferenceBackend.provider("dev.weft.backend.cpu.CpuProvider"::equals);
  }

  @Override
  protected Set<Profile> mandatory() {
    return EnumSet.allOf(Profile.class);
  }
}
