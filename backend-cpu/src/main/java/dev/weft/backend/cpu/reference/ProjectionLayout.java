package dev.weft.backend.cpu.reference;

import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeDispatchSpec;

/**
 * Where the rows of a first projection are stored. Kernels count them one way, whatever the layout:
 * the gates 0..width-1, then the ups (only the ups where there is no gate), as in a saved z.
 *
 * @param gated whether there are gates
 * @param layout how the rows are stored
 * @param width I, or Is for the shared expert
 */
record ProjectionLayout(boolean gated, GateUpLayout layout, int width) {
  /**
   * The layout of the routed experts.
   *
   * @param spec the spec
   * @return their layout
   */
  public static ProjectionLayout experts(MoeDispatchSpec spec) {
    return new ProjectionLayout(
        spec.activation().isGated(), spec.gateUpLayout(), spec.intermediate());
  }

  /**
   * The layout of the shared expert.
   *
   * @param spec the spec
   * @return its layout
   */
  public static ProjectionLayout shared(MoeDispatchSpec spec) {
    return new ProjectionLayout(
        spec.activation().isGated(), spec.gateUpLayout(), spec.sharedIntermediate());
  }

  /**
   * Returns the number of rows.
   *
   * @return 2 width, or width where there is no gate
   */
  public int rows() {
    return gated ? 2 * width : width;
  }

  /**
   * Finds a row in the one tensor that holds gates and ups. With layout SEPARATE that is a bias or
   * the shared expert's weight: gates first.
   *
   * @param row the row as kernels count it
   * @return the row as stored
   */
  public int stored(int row) {
    if (!gated) {
      return row;
    }
    return switch (layout) {
      case GATE_FIRST, SEPARATE -> row;
      case UP_FIRST -> row < width ? width + row : row - width;
      case INTERLEAVED -> row < width ? 2 * row : 2 * (row - width) + 1;
    };
  }

  /**
   * Tells whether an expert's row lies in the tensor of ups alone.
   *
   * @param row the row as kernels count it
   * @return true for the ups of layout SEPARATE
   */
  public boolean inUp(int row) {
    return layout == GateUpLayout.SEPARATE && row >= width;
  }
}
