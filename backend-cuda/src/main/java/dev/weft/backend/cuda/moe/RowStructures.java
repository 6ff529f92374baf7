package dev.weft.backend.cuda.moe;

import dev.weft.backend.cuda.device.LaunchArguments;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.gpu.moe.MatrixRows;
import dev.weft.gpu.moe.ProjectionRows;
import dev.weft.gpu.moe.WeightRows;

/** Rows as the structures of experts.cuh and backward.cuh have them. */
final class RowStructures {
  private RowStructures() {}

  /** The structure WeightRows of experts.cuh. */
  static void put(ParameterBlock block, WeightRows rows) {
    rows.put(new LaunchArguments(block));
  }

  /** The structure Matrix of backward.cuh. */
  static void put(ParameterBlock block, MatrixRows rows) {
    rows.put(new LaunchArguments(block));
    block.put(0);
  }

  /** The structure Projection of backward.cuh. */
  static void put(ParameterBlock block, ProjectionRows rows) {
    rows.put(new LaunchArguments(block));
  }

  /** The device address of the first row, 0 for none. */
  static long address(WeightRows rows) {
    return TensorArguments.address(rows.place());
  }
}
