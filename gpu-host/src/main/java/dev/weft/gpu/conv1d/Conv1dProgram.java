package dev.weft.gpu.conv1d;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.TensorLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * A compiled form of one launch. With an element type, everything is fixed: x, out and states have
 * it, and rows are aligned to the channels of a work-item. Without, types and width are launch
 * parameters, and a work-item owns one channel.
 *
 * @param mode which launch
 * @param element the type of x, out and states, or null where each is a launch parameter
 * @param taps the width; without an element type, the most that it may be
 * @param vector neighbouring channels of a work-item
 */
record Conv1dProgram(Mode mode, @Nullable DataType element, int taps, int vector)
    implements Conv1dForm {
  /** Wider convolutions are a no. */
  static final int MOST_WIDTH = 32;

  private static final int LEAST_WIDTH = 2;

  private static final int USUAL_WIDTH = 4;

  /** Wider ones have but the form that takes anything. */
  private static final int MOST_FIXED_WIDTH = 4;

  /** The least taps of the form that takes anything: fewer would save little. */
  private static final int LEAST_TAPS = 8;

  private static final long MOST_ROW_STEP = 0xffff_ffffL;

  /** Bytes of the widest row that one access moves. */
  private static final int ACCESS = 16;

  private static final List<DataType> TYPES = List.of(DataType.F32, DataType.F16, DataType.BF16);

  /** The kernel of this form. */
  KernelName kernel() {
    String launch = mode.name().toLowerCase(Locale.ROOT);
    KernelName name = KernelName.of("conv1d/" + launch, "conv1d_" + launch).with("TAPS", taps);
    return element == null
        ? name
        : name.with("TYPE", TensorLayout.typeCode(element)).with("VECTOR", vector);
  }

  @Override
  public int alignment() {
    return element == null ? 1 : vector * element.bytes();
  }

  /** Backward with an element type takes rows that lie less than 2^32 bytes apart. */
  @Override
  public boolean takes(@Nullable Tensor... rows) {
    boolean fits = Conv1dForm.super.takes(rows);
    if (element != null && mode == Mode.BACKWARD) {
      for (Tensor tensor : rows) {
        fits &= tensor == null || TensorLayout.stride(tensor, 0) * element.bytes() <= MOST_ROW_STEP;
      }
    }
    return fits;
  }

  /**
   * Groups of a forward pass that a compute unit holds at once, by the registers that NVIDIA's
   * compilers give them: eight channels take up to 168, and four 128.
   */
  int residentGroups() {
    return vector > 4 ? 3 : 4;
  }

  /** The forms that launches of a spec may need, widest rows first; the last takes anything. */
  static List<Conv1dProgram> of(CausalConv1dSpec spec, Mode mode) {
    List<Conv1dProgram> forms = new ArrayList<>();
    if (spec.dataType() == spec.stateType() && spec.width() <= MOST_FIXED_WIDTH) {
      for (int vector : vectors(mode, spec.dataType(), spec.width())) {
        if (spec.channels() % vector == 0) {
          forms.add(new Conv1dProgram(mode, spec.dataType(), spec.width(), vector));
        }
      }
    }
    int taps = LEAST_TAPS;
    while (taps < spec.width()) {
      taps *= 2;
    }
    forms.add(new Conv1dProgram(mode, null, taps, 1));
    return forms;
  }

  /** Every form of every launch. */
  static List<Conv1dProgram> all() {
    List<Conv1dProgram> all = new ArrayList<>();
    for (Mode mode : Mode.values()) {
      for (DataType type : TYPES) {
        for (int width = LEAST_WIDTH; width <= MOST_FIXED_WIDTH; width++) {
          for (int vector : vectors(mode, type, width)) {
            all.add(new Conv1dProgram(mode, type, width, vector));
          }
        }
      }
      for (int taps = LEAST_TAPS; taps <= MOST_WIDTH; taps *= 2) {
        all.add(new Conv1dProgram(mode, null, taps, 1));
      }
    }
    return all;
  }

  /**
   * Rows of 16 bytes, or of 8 backward, where two windows and the sums must fit the registers; and
   * for packed tokens of the usual width, rows of 4, for pitches that are not multiples of those.
   */
  private static List<Integer> vectors(Mode mode, DataType type, int width) {
    int most = ACCESS / type.bytes() / (mode == Mode.BACKWARD ? 2 : 1);
    return type.bytes() == 2 && width == USUAL_WIDTH && mode != Mode.UPDATE
        ? List.of(most, 2)
        : List.of(most);
  }
}
