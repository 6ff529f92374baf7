package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.reference.ExpertFunction;
import dev.weft.backend.cpu.reference.ExpertTensors;
import dev.weft.backend.cpu.reference.ProjectionLayout;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * One expert applied to some tokens in float32; every weight row is read once for all of them. For
 * use by one task.
 */
final class CpuExpert {
  private final ExpertTensors tensors;
  private final ProjectionLayout layout;
  private final int expert;
  private final int hidden;
  private final ExpertFunction f;

  CpuExpert(ExpertTensors tensors, int expert, int hidden, ExpertFunction f) {
    this.tensors = tensors;
    this.layout = tensors.layout();
    this.expert = expert;
    this.hidden = hidden;
    this.f = f;
  }

  /** z = W x + b, gates first, whatever the layout. */
  float[][] project(float[][] inputs) {
    float[][] z = new float[inputs.length][layout.rows()];
    float[] row = new float[hidden];
    ExpertTensors.@Nullable Row bias = tensors.firstBias(expert);
    for (int r = 0; r < layout.rows(); r++) {
      Objects.requireNonNull(tensors.first(expert, r)).read(row, 0);
      float b = bias == null ? 0 : (float) bias.get(layout.stored(r));
      for (int s = 0; s < inputs.length; s++) {
        z[s][r] = FloatRows.dot(row, inputs[s]) + b;
      }
    }
    return z;
  }

  /** a = f(gate, up). */
  float[][] activate(float[][] z) {
    int width = layout.width();
    int up = layout.gated() ? width : 0;
    float[][] a = new float[z.length][width];
    for (int s = 0; s < z.length; s++) {
      for (int i = 0; i < width; i++) {
        a[s][i] = (float) f.value(z[s][i], z[s][up + i]);
      }
    }
    return a;
  }

  /** The outputs W a + b. */
  float[][] down(float[][] a) {
    float[][] out = new float[a.length][hidden];
    float[] row = new float[layout.width()];
    float[] bias = downBias();
    for (int h = 0; h < hidden; h++) {
      Objects.requireNonNull(tensors.down(expert, h)).read(row, 0);
      for (int s = 0; s < a.length; s++) {
        out[s][h] = FloatRows.dot(row, a[s]) + bias[h];
      }
    }
    return out;
  }

  /** The biases of the down projection; zeros where there are none. */
  float[] downBias() {
    float[] bias = new float[hidden];
    ExpertTensors.@Nullable Row row = tensors.downBias(expert);
    if (row != null) {
      row.read(bias, 0);
    }
    return bias;
  }

  /** The gradients of activations from those of outputs. */
  float[][] downTransposed(float[][] dout) {
    float[][] da = new float[dout.length][layout.width()];
    float[] row = new float[layout.width()];
    for (int h = 0; h < hidden; h++) {
      Objects.requireNonNull(tensors.down(expert, h)).read(row, 0);
      for (int s = 0; s < dout.length; s++) {
        FloatRows.addScaled(da[s], dout[s][h], row);
      }
    }
    return da;
  }

  /** The gradients of projections from those of activations. */
  float[][] activateTransposed(float[][] z, float[][] da) {
    int width = layout.width();
    int up = layout.gated() ? width : 0;
    float[][] dz = new float[z.length][layout.rows()];
    for (int s = 0; s < z.length; s++) {
      for (int i = 0; i < width; i++) {
        double g = z[s][i];
        double u = z[s][up + i];
        if (layout.gated()) {
          dz[s][i] = (float) (da[s][i] * f.byGate(g, u));
        }
        dz[s][up + i] = (float) (da[s][i] * f.byUp(g, u));
      }
    }
    return dz;
  }

  /** The gradients of inputs from those of projections. */
  float[][] projectTransposed(float[][] dz) {
    float[][] dx = new float[dz.length][hidden];
    float[] row = new float[hidden];
    for (int r = 0; r < layout.rows(); r++) {
      Objects.requireNonNull(tensors.first(expert, r)).read(row, 0);
      for (int s = 0; s < dz.length; s++) {
        FloatRows.addScaled(dx[s], dz[s][r], row);
      }
    }
    return dx;
  }
}
