package dev.weft.gpu.conv1d;

import dev.weft.DataType;
import dev.weft.conv1d.Activation;
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
 * it, and rows are aligned to the channels of a work-item. Without, types, width and activation are
 * launch parameters, and a work-item owns one channel.
 *
 * @param mode which launch
 * @param element the type of x, out and states, or null where each is a launch parameter
 * @param taps the width; without an element type, the most that it may be
 * @param vector neighbouring channels of a work-item
 * @param silu the activation; without an element type, false
 */
record Conv1dProgram(Mode mode, @Nullable DataType element, int taps, int vector, boolean silu) {
  /** Wider convolutions are a no. */
  static final int MOST_WIDTH = 32;

  /** Up to here windows fit into registers; beyond, there is but the form that takes anything. */
  private static final int MOST_FIXED_WIDTH = 8;

  /** Rows of what a work-item owns, taps and windows, in 4-byte registers. */
  private static final int MOST_TAP_REGISTERS = 32;

  /** Bytes of a row that one access moves. */
  private static final int ACCESS = 16;

  /** The kernel of this form. */
  KernelName kernel() {
    String launch = mode.name().toLowerCase(Locale.ROOT);
    KernelName name = KernelName.of("conv1d/" + launch, "conv1d_" + launch).with("TAPS", taps);
    return element == null
        ? name
        : name.with("TYPE", TensorLayout.typeCode(element))
            .with("VECTOR", vector)
            .with("SILU", silu ? 1 : 0);
  }

  /** How a row's start and pitch must be aligned, in bytes. */
  int alignment() {
    return element == null ? 1 : vector * element.bytes();
  }

  /** The forms that launches of a spec may need, widest rows first; the last takes anything. */
  static List<Conv1dProgram> of(CausalConv1dSpec spec, Mode mode) {
    List<Conv1dProgram> forms = new ArrayList<>();
    DataType type = spec.dataType();
    int width = spec.width();
    if (type == spec.stateType() && width <= MOST_FIXED_WIDTH) {
      // Backward keeps two windows and the sums.
      int registers = mode == Mode.BACKWARD ? MOST_TAP_REGISTERS / 2 : MOST_TAP_REGISTERS;
      int most = ACCESS / type.bytes() / (mode == Mode.BACKWARD ? 2 : 1);
      while (most * width > registers && most > 2) {
        most /= 2;
      }
      // The widest rows, and those that an odd pitch still allows.
      for (int vector : new int[] {most, 2}) {
        boolean isNew = forms.isEmpty() || forms.getLast().vector() > vector;
        if (spec.channels() % vector == 0 && isNew) {
          forms.add(
              new Conv1dProgram(mode, type, width, vector, spec.activation() == Activation.SILU));
        }
      }
    }
    int taps = MOST_FIXED_WIDTH;
    while (taps < width) {
      taps *= 2;
    }
    forms.add(new Conv1dProgram(mode, null, taps, 1, false));
    return forms;
  }
}
