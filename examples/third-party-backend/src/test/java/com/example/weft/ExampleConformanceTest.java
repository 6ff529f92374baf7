package com.example.weft;

import dev.weft.conformance.KernelProviderConformance;
import dev.weft.conformance.Profile;
import dev.weft.spi.KernelProvider;
import java.util.EnumSet;
import java.util.Set;

/** The backend has causal convolutions, all of them. */
class ExampleConformanceTest extends KernelProviderConformance {
  @Override
  protected KernelProvider provider() {
    return new ExampleProvider();
  }

  @Override
  protected Set<String> operations() {
    return Set.of("conv1d");
  }

  @Override
  protected Set<Profile> mandatory() {
    return EnumSet.of(Profile.CORE, Profile.BF16, Profile.F16, Profile.TRAINING, Profile.PAGED);
  }
}
