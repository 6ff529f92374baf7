package dev.weft.gpu.moe;

import dev.weft.gpu.Region;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.LaunchContext;
import org.jspecify.annotations.Nullable;

/** The scratch memory of a launch. */
record Scratch(@Nullable Region start) {
  static Scratch of(LaunchContext context) {
    BackendMemory memory = context.workspace();
    return new Scratch(memory == null ? null : new Region(memory, context.workspaceOffset()));
  }

  /** A place in it, by a plan's offset; null where there is none, as nothing needs any. */
  @Nullable Region at(long offset) {
    return start == null ? null : start.plus(offset);
  }
}
