package dev.weft.backend.cuda.driver;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;
import java.util.Optional;

/**
 * Makes tensor maps, by which the bulk copy engine of Hopper and later GPUs finds tiles of a
 * tensor. JCuda lacks the call. Encoding takes no device time and needs no context.
 */
public final class TensorMaps {
  /** Of an encoded map. */
  public static final int MAP_BYTES = 128;

  private static final int MAP_ALIGNMENT = 64;
  private static final int INTERLEAVE_NONE = 0;

  /** Rows of 128 bytes, as wgmma reads them without bank conflicts. */
  private static final int SWIZZLE_128 = 3;

  private static final int FILL_ZERO = 0;

  private final MethodHandle encodeTiled;

  /** What the elements are; the numbers are those of CUtensorMapDataType. */
  public enum Element {
    F16(6, 2),
    F32(7, 4),
    BF16(9, 2);

    private final int code;
    private final int bytes;

    Element(int code, int bytes) {
      this.code = code;
      this.bytes = bytes;
    }

    /** Bytes of an element. */
    public int bytes() {
      return bytes;
    }
  }

  /**
   * How much the L2 fetches where a copy asks for less; the numbers are those of
   * CUtensorMapL2promotion.
   */
  public enum Fetch {
    /** For what is streamed once: rows of weights. */
    BYTES_128(2),
    BYTES_256(3);

    private final int code;

    Fetch(int code) {
      this.code = code;
    }
  }

  private TensorMaps(MethodHandle encodeTiled) {
    this.encodeTiled = encodeTiled;
  }

  /** Nothing where the driver is older than the call. */
  @SuppressWarnings("restricted") // the signature is that of cuda.h
  static Optional<TensorMaps> find(SymbolLookup symbols) {
    return symbols
        .find("cuTensorMapEncodeTiled")
        .map(address ->
            new TensorMaps(
                Linker.nativeLinker()
                    .downcallHandle(
                        address,
                        FunctionDescriptor.of(
                            JAVA_INT, ADDRESS, JAVA_INT, JAVA_INT, JAVA_LONG, ADDRESS, ADDRESS,
                            ADDRESS, ADDRESS, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT))));
  }

  /**
   * Encodes a map of a dense or pitched tensor. What lies outside of it reads as zero.
   *
   * @param arena where the map lives
   * @param element what the elements are
   * @param fetch what the L2 brings at once
   * @param address the tensor's first byte, a multiple of 16
   * @param sizes of the dimensions, innermost first, at most five
   * @param strides of the dimensions but the innermost, in bytes, multiples of 16
   * @param box the tile's size in each dimension, at most 256; innermost at most 128 bytes, which
   *     are permuted in shared memory
   * @return the map, 128 bytes at a multiple of 64
   */
  public MemorySegment encode(
      Arena arena,
      Element element,
      Fetch fetch,
      long address,
      long[] sizes,
      long[] strides,
      int[] box) {
    MemorySegment map = arena.allocate(MAP_BYTES, MAP_ALIGNMENT);
    try (Arena scratch = Arena.ofConfined()) {
      int[] steps = new int[box.length];
      Arrays.fill(steps, 1);
      MemorySegment sizesAt = scratch.allocateFrom(JAVA_LONG, sizes);
      MemorySegment stridesAt =
          strides.length == 0 ? scratch.allocate(8) : scratch.allocateFrom(JAVA_LONG, strides);
      MemorySegment boxAt = scratch.allocateFrom(JAVA_INT, box);
      MemorySegment stepsAt = scratch.allocateFrom(JAVA_INT, steps);
      int code;
      try {
        code =
            (int)
                encodeTiled.invokeExact(
                    map,
                    element.code,
                    sizes.length,
                    address,
                    sizesAt,
                    stridesAt,
                    boxAt,
                    stepsAt,
                    INTERLEAVE_NONE,
                    SWIZZLE_128,
                    fetch.code,
                    FILL_ZERO);
      } catch (Throwable e) {
        throw new AssertionError(e); // a downcall declares Throwable and throws nothing
      }
      Status.check("cuTensorMapEncodeTiled", code);
    }
    return map;
  }
}
