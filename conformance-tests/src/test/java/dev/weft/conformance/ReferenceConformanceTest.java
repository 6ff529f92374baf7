package dev.weft.conformance;

import dev.weft.spi.KernelProvider;
import java.util.EnumSet;
import java.util.Set;

/** The reference holds the suite to itself: every profile is its duty. */
class ReferenceConformanceTest extends KernelProviderConformance {
  @Override
  protected KernelProvider provider() {
    return ReferenceBackend.provider("dev.weft.backend.cpu.ReferenceProvider"::equals);
  }

  @Override
  protected Set<Profile> mandatory() {
    return EnumSet.allOf(Profile.class);
  }
}
