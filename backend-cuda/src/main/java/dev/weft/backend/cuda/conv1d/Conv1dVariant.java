package dev.weft.backend.cuda.conv1d;

import dev.weft.DataType;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.gpu.conv1d.Conv1dForm;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * A compiled form of one launch. The table here and the entry points of conv1d.cu are the same
 * list; a test compares them.
 *
 * @param mode which launch
 * @param element the type of x, out and states, or null where each is a launch parameter
 * @param width taps
 * @param vector channels of a thread: rows must be aligned to their size
 */
record Conv1dVariant(Mode mode, @Nullable DataType element, int width, int vector)
    implements Conv1dForm {
  static final int LEAST_WIDTH = 2;
  static final int MOST_WIDTH = 8;

  /** The kernel that packs weights, whatever the variant. */
  static final String PACK = "conv1d_pack";

  /** The kernel that adds the partial sums of parameter gradients. */
  static final String REDUCE = "conv1d_reduce";

  String kernel() {
    return "conv1d_"
        + mode.name().toLowerCase(Locale.ROOT)
        + '_'
        + (element == null ? "any" : element.text())
        + "_w"
        + width
        + "_v"
        + vector;
  }

  @Override
  public int alignment() {
    return element == null ? 1 : vector * element.bytes();
  }

  /**
   * Whether forward's rows are of 16 bytes, which go through shared memory and cost no registers.
   */
  boolean readsThroughSharedMemory() {
    return alignment() == 16;
  }

  /** All variants, the widest rows first. */
  static List<Conv1dVariant> all() {
    List<Conv1dVariant> all = new ArrayList<>();
    for (Mode mode : new Mode[] {Mode.FORWARD, Mode.UPDATE}) {
      for (int width = 2; width <= 4; width++) {
        all.add(new Conv1dVariant(mode, DataType.BF16, width, 8));
      }
      all.add(new Conv1dVariant(mode, DataType.F16, 4, 8));
      all.add(new Conv1dVariant(mode, DataType.F32, 4, 4));
    }
    for (int vector : new int[] {4, 2, 1}) {
      all.add(new Conv1dVariant(Mode.FORWARD, DataType.BF16, 4, vector));
    }
    all.add(new Conv1dVariant(Mode.FORWARD, DataType.F16, 4, 2));
    for (DataType element : new DataType[] {DataType.BF16, DataType.F16, DataType.F32}) {
      all.add(new Conv1dVariant(Mode.BACKWARD, element, 4, element == DataType.F32 ? 2 : 4));
    }
    for (Mode mode : Mode.values()) {
      for (int width = LEAST_WIDTH; width <= MOST_WIDTH; width++) {
        all.add(new Conv1dVariant(mode, null, width, 1));
      }
    }
    return all;
  }

  /**
   * The variants that launches of a spec may use, the widest rows first; the last takes anything.
   */
  static List<Conv1dVariant> of(CausalConv1dSpec spec, Mode mode) {
    return all().stream()
        .filter(v -> v.mode == mode && v.width == spec.width())
        .filter(v ->
            v.element == null || (v.element == spec.dataType() && v.element == spec.stateType()))
        .filter(v -> spec.channels() % v.vector == 0)
        .toList();
  }
}
