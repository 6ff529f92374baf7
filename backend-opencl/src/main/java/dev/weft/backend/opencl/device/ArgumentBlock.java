package dev.weft.backend.opencl.device;

import dev.weft.backend.opencl.driver.Calls;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.Region;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.jspecify.annotations.Nullable;

/** Off-heap memory for one dispatch's arguments, eight bytes each. */
final class ArgumentBlock implements Arguments {
  private static final int MOST = 256;

  private final MemorySegment values;
  private final MemorySegment[] slots = new MemorySegment[MOST];
  private final int[] sizes = new int[MOST];
  private int count;

  ArgumentBlock(Arena arena) {
    values = arena.allocate(8L * MOST, 8);
    for (int i = 0; i < MOST; i++) {
      slots[i] = values.asSlice(8L * i, 8);
    }
  }

  ArgumentBlock reset() {
    count = 0;
    return this;
  }

  @Override
  public ArgumentBlock region(@Nullable Region region) {
    if (region == null) {
      sizes[count++] = 0; // a null pointer
      return value(0L);
    }
    OpenClMemory memory = (OpenClMemory) region.memory();
    return value(memory.buffer()).value(memory.offset() + region.offset());
  }

  @Override
  public ArgumentBlock value(int value) {
    values.setAtIndex(ValueLayout.JAVA_INT, 2L * count, value);
    sizes[count++] = 4;
    return this;
  }

  @Override
  public ArgumentBlock value(long value) {
    values.setAtIndex(ValueLayout.JAVA_LONG, count, value);
    sizes[count++] = 8;
    return this;
  }

  @Override
  public ArgumentBlock value(float value) {
    values.setAtIndex(ValueLayout.JAVA_FLOAT, 2L * count, value);
    sizes[count++] = 4;
    return this;
  }

  /** Gives all to a kernel, which copies them. */
  void setOn(long kernel, Calls calls) {
    for (int i = 0; i < count; i++) {
      if (sizes[i] == 0) {
        calls.setArgument(kernel, i, 8, MemorySegment.NULL);
      } else {
        calls.setArgument(kernel, i, sizes[i], slots[i]);
      }
    }
  }
}
