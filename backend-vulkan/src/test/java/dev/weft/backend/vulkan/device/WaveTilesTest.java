package dev.weft.backend.vulkan.device;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.DeviceOptions;
import dev.weft.backend.vulkan.PresentDevice;
import dev.weft.backend.vulkan.VulkanProvider;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.WaveTileCheck;
import dev.weft.spi.Probe;
import org.junit.jupiter.api.Test;

/** Products of wave tiles on the device of this machine; any has the plain tier. */
class WaveTilesTest {
  @Test
  void unitsThatAreUsedAndThePlainTierAreRight() {
    PresentDevice.required();
    VulkanProvider provider = new VulkanProvider();
    if (provider.probe() instanceof Probe.Available found) {
      try (ComputeDevice device =
          (ComputeDevice) provider.open(found.devices().getFirst(), DeviceOptions.defaults())) {
        for (int type = 1; type <= 2; type++) {
          assertEquals(
              "",
              WaveTileCheck.wrongProduct(device, MatrixUnitsCheck.kernel(MatrixUnits.NONE, type)));
          assertEquals(
              "",
              WaveTileCheck.wrongProduct(
                  device, MatrixUnitsCheck.kernel(device.traits().matrixUnits(), type)));
        }
        assertEquals(
            "",
            WaveTileCheck.wrongProduct(
                device,
                MatrixUnitsCheck.kernel(MatrixUnits.NONE, 0).with("WM", 16).with("WN", 32)));
      }
    }
  }
}
