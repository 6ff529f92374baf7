package dev.weft.backend.vulkan.device;

import dev.weft.backend.vulkan.device.Timelines.Timeline;
import dev.weft.spi.BackendEvent;

/** A value on a stream's timeline, and the time at which it was reached. */
final class VulkanEvent implements BackendEvent {
  private final VulkanContext context;
  private final Timeline timeline;
  private final long value;
  private final Timestamps.Slot time;

  VulkanEvent(VulkanContext context, Timeline timeline, long value, Timestamps.Slot time) {
    this.context = context;
    this.timeline = timeline;
    this.value = value;
    this.time = time;
  }

  Timeline timeline() {
    return timeline;
  }

  long value() {
    return value;
  }

  @Override
  public boolean isComplete() {
    try (var _ = context.use().begin()) {
      if (timeline.reached() < value) {
        return false;
      }
      context.retireAll();
      return true;
    }
  }

  @Override
  public void synchronize() {
    try (var _ = context.use().begin()) {
      timeline.await(value);
      context.retireAll();
      context.messages().check();
    }
  }

  @Override
  public double nanosSince(BackendEvent start) {
    try (var _ = context.use().begin()) {
      return context.timestamps().between(((VulkanEvent) start).time, time);
    }
  }

  @Override
  public void close() {
    try (var use = context.use().tryBegin()) {
      if (use != null) {
        context.timestamps().give(time, timeline, value);
      }
    }
  }
}
