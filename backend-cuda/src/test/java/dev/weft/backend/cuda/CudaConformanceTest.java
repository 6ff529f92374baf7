package dev.weft.backend.cuda;

import dev.weft.backend.cuda.moe.RandomMoeCases;
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

/** The suite on the GPU of this machine; skipped, with the reason, where there is none. */
class CudaConformanceTest extends KernelProviderConformance {
  private static final int RANDOM_CASES = 300;

  @BeforeAll
  static void needsDevice() {
    PresentDevice.assumed(new CudaProvider());
  }

  @Override
  protected KernelProvider provider() {
    return new CudaProvider();
  }

  @Override
  protected Set<Profile> mandatory() {
    return EnumSet.complementOf(EnumSet.of(Profile.LARGE));
  }

  @Override
  protected List<CaseCatalogue> catalogues() {
    return List.of(new RandomConv1dCases(RANDOM_CASES), new RandomMoeCases(RANDOM_CASES));
  }
}
