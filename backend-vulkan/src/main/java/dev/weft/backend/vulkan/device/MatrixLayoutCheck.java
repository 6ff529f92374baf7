package dev.weft.backend.vulkan.device;

import dev.weft.WeftException;
import dev.weft.backend.vulkan.shaders.ShaderLibrary;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.Region;
import dev.weft.spi.BackendMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Asks a device where the elements of its cooperative matrices lie ({@code matrix/layout}). Vulkan
 * does not say, and a device on which it is otherwise is no worse for it: kernels that count on it
 * have plain forms.
 */
final class MatrixLayoutCheck {
  private static final int WAVE = 32;
  private static final int SUMS = 8;

  /** Numbers of an element: as a sum, in use A, in use B. */
  private static final int USES = 3;

  private MatrixLayoutCheck() {}

  private static KernelName kernel(int type) {
    return KernelName.of("matrix/layout", "layout_of_blocks")
        .with("TYPE", type)
        .with("MATRIX", MatrixUnits.COOPERATIVE.code())
        .with("WAVE", WAVE);
  }

  /** Whether they lie, of both types, as {@code moba/attend_units} and {@code moe/few_rows} say. */
  static boolean hasRowsInQuads(ComputeDevice device, ShaderLibrary library) {
    try {
      for (int type = 1; type <= 2; type++) {
        if (!library.has(kernel(type)) || !hasRowsInQuads(device, kernel(type))) {
          return false;
        }
      }
      return true;
    } catch (WeftException e) {
      return false;
    }
  }

  private static boolean hasRowsInQuads(ComputeDevice device, KernelName name) {
    long bytes = 4L * WAVE * SUMS * USES;
    try (ComputeStream stream = (ComputeStream) device.newStream();
        Arena arena = Arena.ofConfined();
        BackendMemory memory = device.allocate(bytes)) {
      MemorySegment found = arena.allocate(bytes, 16);
      stream.arguments().region(new Region(memory, 0));
      stream.dispatch(device.kernel(name), 1, 1, 1, WAVE);
      stream.download(memory, 0, found);
      stream.synchronize();
      for (int lane = 0; lane < WAVE; lane++) {
        for (int e = 0; e < SUMS; e++) {
          int row = lane / 4 + e / 4 * 8;
          int column = 2 * (lane % 4) + e % 2 + e / 2 % 2 * 8;
          long at = (long) USES * (lane * SUMS + e);
          for (int use = 0; use < 2; use++) {
            if (found.getAtIndex(ValueLayout.JAVA_INT, at + use) != 16 * row + column) {
              return false;
            }
          }
          // Use B: columns are what rows are elsewhere.
          if (found.getAtIndex(ValueLayout.JAVA_INT, at + 2) != 16 * column + row) {
            return false;
          }
        }
      }
      return true;
    }
  }
}
