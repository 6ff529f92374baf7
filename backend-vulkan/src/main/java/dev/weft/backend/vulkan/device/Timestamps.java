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
import org.lwjgl.vulkan.VkQueryPoolCreateInfo;

/** Places for the device to write its time to, one for each event. Used by many threads. */
final class Timestamps {
  private static final int POOL = 1024;

  private final VkDevice device;
  private final long mask;
  private final double nanos;
  private final List<Long> pools = new ArrayList<>();
  private final Deque<Slot> free = new ArrayDeque<>();
  private final Deque<Pending> pending = new ArrayDeque<>();

  /** Returned before the device had written to it. */
  private record Pending(Slot slot, Timelines.Timeline timeline, long value) {}

  /**
   * A place for a time.
   *
   * @param pool the VkQueryPool
   * @param index the query
   */
  record Slot(long pool, int index) {}

  Timestamps(VkDevice device, int bits, double nanos) {
    this.device = device;
    this.mask = bits >= Long.SIZE ? -1L : (1L << bits) - 1;
    this.nanos = nanos;
  }

  /** A place that is ready to be written to. */
  synchronized Slot take() {
    while (!pending.isEmpty()) {
      Pending first = pending.peek();
      if (first.timeline.reached() < first.value) {
        break;
      }
      free.push(first.slot);
      pending.remove();
    }
    if (free.isEmpty()) {
      grow();
    }
    Slot slot = free.pop();
    VK12.vkResetQueryPool(device, slot.pool, slot.index, 1);
    return slot;
  }

  private void grow() {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      VkQueryPoolCreateInfo info =
          VkQueryPoolCreateInfo.calloc(stack)
              .sType$Default()
              .queryType(VK10.VK_QUERY_TYPE_TIMESTAMP)
              .queryCount(POOL);
      LongBuffer handle = stack.mallocLong(1);
      Result.check("vkCreateQueryPool", VK10.vkCreateQueryPool(device, info, null, handle));
      pools.add(handle.get(0));
      for (int i = 0; i < POOL; i++) {
        free.add(new Slot(handle.get(0), i));
      }
    }
  }

  /** Takes a place back, which the device writes to before it reaches a value. */
  synchronized void give(Slot slot, Timelines.Timeline timeline, long value) {
    if (timeline.reached() >= value) {
      free.push(slot);
    } else {
      pending.add(new Pending(slot, timeline, value));
    }
  }

  /** Nanoseconds between two times that were written. */
  double between(Slot start, Slot end) {
    return ((read(end) - read(start)) & mask) * nanos;
  }

  private long read(Slot slot) {
    try (MemoryStack stack = MemoryStack.stackPush()) {
      LongBuffer value = stack.mallocLong(1);
      Result.check(
          "vkGetQueryPoolResults",
          VK10.vkGetQueryPoolResults(
              device,
              slot.pool,
              slot.index,
              1,
              value,
              Long.BYTES,
              VK10.VK_QUERY_RESULT_64_BIT | VK10.VK_QUERY_RESULT_WAIT_BIT));
      return value.get(0) & mask;
    }
  }

  synchronized void close() {
    for (long pool : pools) {
      VK10.vkDestroyQueryPool(device, pool, null);
    }
    pools.clear();
    free.clear();
    pending.clear();
  }
}
