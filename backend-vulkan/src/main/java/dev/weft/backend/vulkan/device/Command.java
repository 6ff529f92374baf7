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

  /** The host memory that recording reads, if any. */
  default @Nullable MemorySegment reads() {
    return null;
  }
}
