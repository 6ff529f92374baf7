package dev.weft.backend.vulkan.device;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.weft.DeviceLostException;
import dev.weft.backend.vulkan.VulkanProvider;
import dev.weft.backend.vulkan.driver.Vulkan;
import dev.weft.gpu.NotUsableException;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** Long waits, on whatever device there is; a loss is played by what submits. */
class LossCheckTest {
  private static final int BYTES = 64 << 20;

  @Test
  void aWaitEndsWhereASubmissionTellsOfTheLoss() throws NotUsableException {
    PresentDevice.required(new VulkanProvider());
    try (Vulkan vulkan = Vulkan.open()) {
      VulkanContext context = new VulkanContext(vulkan, vulkan.devices().getFirst());
      AtomicInteger asked = new AtomicInteger();
      LossCheck check =
          new LossCheck(
              context.device(),
              fence -> {
                if (asked.incrementAndGet() == 3) {
                  throw new DeviceLostException("gone", null);
                }
                context.submitFence(fence);
              });
      Timelines timelines = new Timelines(context.device(), check);
      Timelines.Timeline never = timelines.take();
      assertThrows(DeviceLostException.class, () -> never.await(1));
      assertEquals(3, asked.get());
      context.stop();
      timelines.close();
      check.close();
      context.close();
    }
  }

  @Test
  void aLongWaitIsOneLikeAnyOther() {
    VulkanProvider provider = new VulkanProvider();
    PresentDevice.required(provider);
    try (VulkanDevice device = (VulkanDevice) PresentDevice.open(provider);
        BackendStream stream = device.newStream();
        BackendMemory memory = device.allocate(BYTES);
        Arena arena = Arena.ofConfined()) {
      long begun = System.nanoTime();
      long enough = begun;
      for (int times = 8; enough - begun < 400_000_000; times *= 2) { // of any device's speed
        begun = System.nanoTime();
        for (int i = 0; i < times; i++) {
          stream.fill(memory, 0, BYTES, (byte) times);
        }
        stream.fill(memory, 0, BYTES, (byte) 42);
        stream.synchronize();
        enough = System.nanoTime();
      }
      MemorySegment last = arena.allocate(BYTES);
      stream.download(memory, 0, last);
      stream.synchronize();
      assertEquals(42, last.get(ValueLayout.JAVA_BYTE, BYTES - 1));
    }
  }
}
