package dev.weft.gpu.moe;

import dev.weft.Tensor;
import dev.weft.gpu.TensorLayout;
import dev.weft.moe.ExpertActivation;
import dev.weft.moe.RouterSpec.Normalize;
import dev.weft.moe.RouterSpec.Score;
import org.jspecify.annotations.Nullable;

/**
 * What stands for options in the arguments of MoE's kernels; experts.clh and experts.cuh have the
 * same numbers.
 */
public final class MoeCodes {
  private MoeCodes() {}

  /** Of a router's score. */
  public static int score(Score score) {
    return switch (score) {
      case IDENTITY -> 0;
      case SOFTMAX -> 1;
      case SIGMOID -> 2;
    };
  }

  /** Of a router's normalisation. */
  public static int normalize(Normalize normalize) {
    return switch (normalize) {
      case NONE -> 0;
      case SUM -> 1;
      case SOFTMAX -> 2;
    };
  }

  /** Of an activation. */
  public static int activation(ExpertActivation activation) {
    return switch (activation) {
      case SWIGLU -> 0;
      case SWIGLU_CLAMPED -> 1;
      case GEGLU -> 2;
      case GEGLU_TANH -> 3;
      case RELU2 -> 4;
    };
  }

  /** Elements from a row to the next, 0 for no tensor. */
  public static long pitch(@Nullable Tensor tensor) {
    return tensor == null ? 0 : TensorLayout.stride(tensor, 0);
  }
}
