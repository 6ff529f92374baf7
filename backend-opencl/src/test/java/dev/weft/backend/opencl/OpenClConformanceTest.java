package dev.weft.backend.opencl;

import dev.weft.conformance.CaseCatalogue;
import dev.weft.conformance.KernelProviderConformance;
import dev.weft.conformance.Profile;
import dev.weft.conformance.conv1d.RandomConv1dCases;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.spi.KernelProvider;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.BeforeAll;

/** The suite on the first OpenCL device of this machine, which is PoCL where there is no GPU. */
class OpenClConformanceTest extends KernelProviderConformance {
  /** Enough to meet every form of the kernels, and few enough for PoCL. */
  private static final int RANDOM_CASES = 60;

  @BeforeAll
  static void needsDevice() {
    PresentDevice.required(new OpenClProvider());
  }

  @Override
  protected KernelProvider provider() {
    return new OpenClProvider();
  }

  @Override
  protected Set<Profile> mandatory() {
    return EnumSet.complementOf(EnumSet.of(Profile.LARGE));
  }

  @Override
  protected List<CaseCatalogue> catalogues() {
    return List.of(new RandomConv1dCases(RANDOM_CASES));
  }
}
