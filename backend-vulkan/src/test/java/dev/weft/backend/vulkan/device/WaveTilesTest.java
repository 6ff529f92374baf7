package dev.weft.backend.vulkan.device;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.backend.vulkan.VulkanProvider;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.WaveTileCheck;
import dev.weft.gpu.fixtures.PresentDevice;
import org.junit.jupiter.api.Test;

/** Products of wave tiles on the device of this machine; any has the plain tier. */
class WaveTilesTest {
  @Test
  void unitsThatAreUsedAndThePlainTierAreRight() {
    VulkanProvider provider = new VulkanProvider();
    PresentDevice.required(provider);
    try (ComputeDevice device = (ComputeDevice) PresentDevice.open(provider)) {
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
              device, MatrixUnitsCheck.kernel(MatrixUnits.NONE, 0).with("WM", 16).with("WN", 32)));
    }
  }
}
