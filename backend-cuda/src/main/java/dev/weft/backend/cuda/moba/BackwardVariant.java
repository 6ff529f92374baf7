package dev.weft.backend.cuda.moba;

import dev.weft.DataType;
import dev.weft.moba.MobaAttentionSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * A kernel of the backward pass: one of three stages, for a type and a width that holds D and Dv.
 *
 * @param stage what it computes
 * @param unit what multiplies
 * @param type of the tensors
 * @param width a multiple of 64
 */
record BackwardVariant(Stage stage, Unit unit, DataType type, int width) {
  private static final int[] WIDTHS = {64, 128, 256};
  private static final int ALIGNMENT = 128;

  /** As backward.cuh has them. */
  enum Stage {
    KEYS,
    LIST,
    OWN
  }

  /** One header each: backward_f32.cuh, backward_mma.cuh, sm_90a/backward_wgmma.cuh. */
  enum Unit {
    /** F32 products; all layouts. */
    FMA,
    /** F16 and BF16 on any tensor core; all layouts. */
    MMA,
    /** F16 and BF16 on Hopper, to width 128; inputs of 16-byte rows. */
    WGMMA
  }

  private static int width(MobaAttentionSpec spec) {
    int wanted = Math.max(spec.headDim(), spec.valueDim());
    for (int width : WIDTHS) {
      if (width >= wanted) {
        return width;
      }
    }
    throw new IllegalArgumentException("no kernel for " + spec);
  }

  /** The variant for every device and layout. */
  static BackwardVariant of(Stage stage, MobaAttentionSpec spec) {
    Unit unit = spec.dataType() == DataType.F32 ? Unit.FMA : Unit.MMA;
    return new BackwardVariant(stage, unit, spec.dataType(), width(spec));
  }

  /** The variant for aligned inputs, where the device has it. */
  static Optional<BackwardVariant> aligned(Stage stage, MobaAttentionSpec spec) {
    int width = width(spec);
    return spec.dataType() == DataType.F32 || width > 128
        ? Optional.empty()
        : Optional.of(new BackwardVariant(stage, Unit.WGMMA, spec.dataType(), width));
  }

  static List<BackwardVariant> all() {
    List<BackwardVariant> all = new ArrayList<>();
    for (Stage stage : Stage.values()) {
      for (int width : WIDTHS) {
        all.add(new BackwardVariant(stage, Unit.FMA, DataType.F32, width));
        for (DataType type : List.of(DataType.F16, DataType.BF16)) {
          all.add(new BackwardVariant(stage, Unit.MMA, type, width));
          if (width <= 128) {
            all.add(new BackwardVariant(stage, Unit.WGMMA, type, width));
          }
        }
      }
    }
    return all;
  }

  static String stats(DataType type) {
    return "moba_backward_stats_" + type.text();
  }

  /** Adds the partials of variants that leave them all. */
  static String merge(DataType type) {
    return "moba_backward_wgmma_" + type.text() + "_merge";
  }

  String kernel() {
    String part =
        switch (stage) {
          case KEYS -> "keys";
          case LIST -> "list";
          case OWN -> "own";
        };
    String prefix = unit == Unit.WGMMA ? "moba_backward_wgmma_" : "moba_backward_";
    return prefix + type.text() + "_" + part + "_" + width;
  }

  /** Keys (or rows of queries) that a thread block keeps. */
  int rows() {
    return switch (unit) {
      case FMA -> width == 256 ? 16 : 32;
      case MMA -> width == 256 ? 64 : 128;
      case WGMMA -> 128;
    };
  }

  int threads() {
    return switch (unit) {
      case FMA -> 256;
      case MMA -> width == 256 && stage != Stage.KEYS ? 128 : 256;
      case WGMMA -> 384;
    };
  }

  /**
   * Whether thread blocks walk through all tiles of rows, so that a device full of them is enough.
   */
  boolean isPersistent() {
    return stage == Stage.LIST || unit == Unit.WGMMA;
  }

  /** Thread blocks that a multiprocessor holds. */
  int resident() {
    return unit == Unit.FMA ? 2 : 1;
  }

  /** The Shared structure's size. */
  int sharedBytes() {
    int rows = rows();
    return switch (unit) {
      case FMA ->
          padded(4 * rows * (width + 4) * 4 + 2 * rows * (rows + 1) * 4 + rows * 12, ALIGNMENT);
      case MMA -> {
        int streamed = 32;
        int stages = width == 256 ? 1 : 2;
        yield padded(4 * rows * width + stages * streamed * (4 * width + 12), ALIGNMENT);
      }
      case WGMMA -> {
        int streamed = 64;
        int stages = width == 64 ? 6 : 3;
        int buffers = 2;
        int stats = 8 * (stage == Stage.KEYS ? stages * streamed : buffers * rows);
        int items = 32 * buffers + 8;
        int barriers = 16 * (stages + buffers);
        yield padded(
            4 * (buffers * rows + stages * streamed) * width + stats + items + barriers, 1024);
      }
    };
  }

  private static int padded(int bytes, int alignment) {
    return (bytes + alignment - 1) / alignment * alignment;
  }
}
