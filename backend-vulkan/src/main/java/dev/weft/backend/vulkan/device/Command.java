package dev.weft.backend.vulkan.device;

import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/** A piece of a stream's work, which can be recorded again and again. */
interface Command {
  /** Records it. What it needs of host memory is read now. */
  void record(Submission submission);

  /** Whether it may run beside what was enqueued just before it. */
  default boolean isIndependent() {
    return false;
  }

  /** Whether it has nothing to do with the host's memory, so that it can be submitted again. */
  default boolean isOfDeviceAlone() {
    return false;
  }

  /** The host memory that recording reads, if any. */
  default @Nullable MemorySegment reads() {
    return null;
  }

  /** A command of the device alone. */
  record OnDevice(Command command) implements Command {
    @Override
    public void record(Submission submission) {
      command.record(submission);
    }

    @Override
    public boolean isOfDeviceAlone() {
      return true;
    }
  }
}
