package dev.weft.backend.vulkan.device;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.backend.vulkan.VulkanProvider;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.spi.BackendMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Copies by kernels, which GPUs get, on whatever device there is. */
class DeviceCopyTest {
  private static final int BYTES = 128 << 10;

  @Test
  void copiesAnyBytesToAnyPlaceAndNothingElse() {
    VulkanProvider provider = new VulkanProvider();
    PresentDevice.required(provider);
    try (VulkanDevice device = (VulkanDevice) PresentDevice.open(provider);
        VulkanStream stream = device.newStreamThatCopiesByKernels();
        Arena arena = Arena.ofConfined();
        BackendMemory source = device.allocate(BYTES);
        BackendMemory target = device.allocate(BYTES)) {
      Random random = new Random(7);
      byte[] given = new byte[BYTES];
      random.nextBytes(given);
      MemorySegment host = arena.allocate(BYTES);
      host.copyFrom(MemorySegment.ofArray(given));
      stream.upload(host, source, 0);
      for (int distance = 0; distance < 33; distance++) {
        int from = random.nextInt(40);
        int to = from + distance;
        int count = (int) DeviceCopy.LEAST_BYTES + random.nextInt(4000);
        byte[] expected = new byte[BYTES];
        Arrays.fill(expected, (byte) 7);
        System.arraycopy(given, from, expected, to, count);
        stream.fill(target, 0, BYTES, (byte) 7);
        stream.copy(source, from, target, to, count);
        stream.download(target, 0, host);
        stream.synchronize();
        assertEquals(
            -1, Arrays.mismatch(expected, host.toArray(ValueLayout.JAVA_BYTE)), from + " " + to);
      }
    }
  }
}
