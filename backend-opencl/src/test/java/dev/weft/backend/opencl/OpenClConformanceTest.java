package dev.weft.backend.opencl;

import dev.weft.conformance.KernelProviderConformance;
import dev.weft.conformance.Profile;
import dev.weft.spi.KernelProvider;
import java.util.EnumSet;
import java.util.Set;
import org.junit.jupiter.api.BeforeAll;

/** The suite on the first OpenCL device of this machine, which is PoCL where there is no GPU. */
class OpenClConformanceTest extends KernelProviderConformance {
  @BeforeAll
  static void needsDevice() {
    PresentDevice.required();
  }

  @Override
  protected KernelProvider provider() {
    return new OpenClProvider();
  }

  @Override
  protected Set<Profile> mandatory() {
    return EnumSet.complementOf(EnumSet.of(Profile.LARGE));
  }
}
