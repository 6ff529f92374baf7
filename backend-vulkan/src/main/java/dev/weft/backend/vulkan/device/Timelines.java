package dev.weft.backend.vulkan.device;

import dev.weft.backend.vulkan.driver.Result;
import java.nio.LongBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import org.lwjgl.system.MemoryStack;
import org.lwjgl.vulkan.VK10;
import org.lwjgl.vulkan.VK12;
import org.lwjgl.vulkan.VkDevice;
import org.lwjgl.vulkan.VkSemaphoreCreateInfo;
import org.lwjgl.vulkan.VkSemaphoreTypeCreateInfo;
import org.lwjgl.vulkan.VkSemaphoreWaitInfo;

/**
 * Timeline semaphores, one for each stream. That of a closed stream serves the next one, counting
 * on, so that its events can be asked as long as the device lives.
 */
final class Timelines {
  /** How long to wait before asking whether the device is lost. */
  private static final long PATIENCE_NANOS = 100_000_000;

  private final VkDevice device;
  private final LossCheck lossCheck;
  private final List<Timeline> all = new ArrayList<>();
  private final Deque<Timeline> free = new ArrayDeque<>();

  Timelines(VkDevice device, LossCheck lossCheck) {
    this.device = device;
    this.lossCheck = lossCheck;
  }

  /** The progress of a stream. Asked by any thread; only its stream's thread counts on. */
  final class Timeline {
    private final long semaphore;
    private volatile long last;

    private Timeline(long semaphore) {
      this.semaphore = semaphore;
    }

    /** The VkSemaphore. */
    long semaphore() {
      return semaphore;
    }

    /** The value that the last submission signals. */
    long last() {
      return last;
    }

    void submitted(long value) {
      last = value;
    }

    /** The value that the device has reached; everything, if it is lost. */
    long reached() {
      try (MemoryStack stack = MemoryStack.stackPush()) {
        LongBuffer value = stack.mallocLong(1);
        int code = VK12.vkGetSemaphoreCounterValue(device, semaphore, value);
        if (code == Result.DEVICE_LOST) {
          return Long.MAX_VALUE;
        }
        Result.check("vkGetSemaphoreCounterValue", code);
        return value.get(0);
      }
    }

    /**
     * Waits until the device has reached a value.
     *
     * @throws dev.weft.DeviceLostException if the driver says, here or when asked in between, that
     *     the device is lost
     */
    void await(long value) {
      try (MemoryStack stack = MemoryStack.stackPush()) {
        VkSemaphoreWaitInfo info =
            VkSemaphoreWaitInfo.calloc(stack)
                .sType$Default()
                .semaphoreCount(1)
                .pSemaphores(stack.longs(semaphore))
                .pValues(stack.longs(value));
        int code = VK12.vkWaitSemaphores(device, info, PATIENCE_NANOS);
        while (code == Result.TIMEOUT) {
          lossCheck.check();
          code = VK12.vkWaitSemaphores(device, info, PATIENCE_NANOS);
        }
        Result.check("vkWaitSemaphores", code);
      }
    }
  }

  synchronized Timeline take() {
    Timeline used = free.poll();
    if (used != null) {
      return used;
    }
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkSemaphoreCreateInfo info =
          VkSemaphoreCreateInfo.calloc(stack)
              .sType$Default()
              .pNext(
                  VkSemaphoreTypeCreateInfo.calloc(stack)
                      .sType$Default()
                      .semaphoreType(VK12.VK_SEMAPHORE_TYPE_TIMELINE)
                      .initialValue(0));
      LongBuffer handle = stack.mallocLong(1);
      Result.check("vkCreateSemaphore", VK10.vkCreateSemaphore(device, info, null, handle));
      Timeline made = new Timeline(handle.get(0));
      all.add(made);
      return made;
    }
  }

  /** Takes back that of a stream that is closed and drained. */
  synchronized void give(Timeline timeline) {
    free.add(timeline);
  }

  synchronized void close() {
    for (Timeline timeline : all) {
      VK10.vkDestroySemaphore(device, timeline.semaphore, null);
    }
    all.clear();
    free.clear();
  }
}
