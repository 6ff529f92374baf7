package dev.weft.backend.vulkan.device;

import dev.weft.backend.vulkan.driver.Result;
import java.nio.LongBuffer;
import org.lwjgl.system.MemoryStack;
import org.lwjgl.vulkan.VK10;
import org.lwjgl.vulkan.VkDevice;
import org.lwjgl.vulkan.VkFenceCreateInfo;

/**
 * Asks a device whether it is lost, while somebody waits for it. To wait for a timeline is not
 * enough: after a fault of a kernel NVIDIA's driver was seen to let that time out again and again,
 * without a word. So a fence without work is submitted, behind what runs, and both the submission
 * and the fence may tell of the loss. By any number of threads at once.
 */
final class LossCheck {
  /** Submits a fence and nothing else. */
  interface Submitter {
    void submit(long fence);
  }

  private final VkDevice device;
  private final Submitter submitter;
  private long fence; // 0 until somebody has waited for long
  private boolean pending;

  LossCheck(VkDevice device, Submitter submitter) {
    this.device = device;
    this.submitter = submitter;
  }

  /**
   * Asks. Never waits for the device's work.
   *
   * @throws dev.weft.DeviceLostException if the driver says that the device is lost
   */
  synchronized void check() {
    if (fence == 0) {
      fence = create();
    }
    if (pending) {
      int code = VK10.vkGetFenceStatus(device, fence);
      if (code == Result.NOT_READY) {
        return;
      }
      Result.check("vkGetFenceStatus", code);
      Result.check("vkResetFences", VK10.vkResetFences(device, fence));
      pending = false;
    }
    submitter.submit(fence);
    pending = true;
  }

  private long create() {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      LongBuffer made = stack.mallocLong(1);
      VkFenceCreateInfo info = VkFenceCreateInfo.calloc(stack).sType$Default();
      Result.check("vkCreateFence", VK10.vkCreateFence(device, info, null, made));
      return made.get(0);
    }
  }

  /** Destroys the fence; the device is idle, or lost. */
  synchronized void close() {
    if (fence != 0) {
      VK10.vkDestroyFence(device, fence, null);
      fence = 0;
    }
  }
}
