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
 * @param steps whether it is for the usual decoding step alone: one token of a sequence, states
 *     that are the window of the last width - 1 and can be reached in whole accesses
 * @param element the type of x, out and states, or null where each is a launch parameter
 * @param width taps
 * @param vector channels of a thread: rows must be aligned to their size
 */
record Conv1dVariant(Mode mode, boolean steps, @Nullable DataType element, int width, int vector)
    implements Conv1dForm {
  static final int LEAST_WIDTH = 2;
  static final int MOST_WIDTH = 8;

  /** The kernel that packs weights, whatever the variant. */
  static final String PACK = "conv1d_pack";

  /** The kernel that adds the partial sums of parameter gradients. */
  static final String REDUCE = "conv1d_reduce";

  /** The most tokens of a tile of a forward pass of decoding steps, as forward.cuh has it. */
  static final int MOST_STEPS = 4;

  private static final int USUAL_WIDTH = 4;

  /** Bytes of the widest row of a thread. */
  private static final int ROW = 16;

  private static final List<DataType> TYPES = List.of(DataType.BF16, DataType.F16, DataType.F32);

  String kernel() {
    return "conv1d_"
        + mode.name().toLowerCase(Locale.ROOT)
        + (steps ? "_steps_" : "_")
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
    return alignment() == ROW;
  }

  private static Conv1dVariant of(Mode mode, @Nullable DataType element, int width, int vector) {
    return new Conv1dVariant(mode, false, element, width, vector);
  }

  /** All variants, the widest rows first. */
  static List<Conv1dVariant> all() {
    List<Conv1dVariant> all = new ArrayList<>();
    for (DataType element : TYPES) {
      all.add(new Conv1dVariant(Mode.FORWARD, true, element, USUAL_WIDTH, ROW / element.bytes()));
    }
    for (Mode mode : new Mode[] {Mode.FORWARD, Mode.UPDATE}) {
      for (DataType element : TYPES) {
        all.add(of(mode, element, USUAL_WIDTH, ROW / element.bytes()));
      }
      for (int width = LEAST_WIDTH; width < USUAL_WIDTH; width++) {
        all.add(of(mode, DataType.BF16, width, ROW / DataType.BF16.bytes()));
      }
    }
    for (int vector : new int[] {4, 2}) {
      all.add(of(Mode.FORWARD, DataType.BF16, USUAL_WIDTH, vector));
    }
    all.add(of(Mode.FORWARD, DataType.F16, USUAL_WIDTH, 2));
    for (DataType element : TYPES) {
      all.add(of(Mode.BACKWARD, element, USUAL_WIDTH, ROW / 2 / element.bytes()));
    }
    for (Mode mode : Mode.values()) {
      for (int width = LEAST_WIDTH; width <= MOST_WIDTH; width++) {
        all.add(of(mode, null, width, 1));
      }
    }
    return all;
  }

  /**
   * The variants that launches of a spec may use, the widest rows first; the last takes anything.
   */
  static List<Conv1dVariant> of(CausalConv1dSpec spec, Mode mode) {
    return all().stream().filter(v -> !v.steps && v.isOf(spec, mode)).toList();
  }

  /** The variant of a forward pass for decoding steps, if there is one. */
  static @Nullable Conv1dVariant ofSteps(CausalConv1dSpec spec) {
    return all().stream()
        .filter(v -> v.steps && v.isOf(spec, Mode.FORWARD) && spec.modes().contains(Mode.FORWARD))
        .findFirst()
        .orElse(null);
  }

  private boolean isOf(CausalConv1dSpec spec, Mode wanted) {
    return mode == wanted
        && width == spec.width()
        && (element == null || (element == spec.dataType() && element == spec.stateType()))
        && spec.channels() % vector == 0;
  }
}
