package dev.weft.backend.cpu.reference;

import java.util.Objects;

/**
 * The weights of one expert, widened: {@code first} [rows, H] and {@code down} [H, width], rows as
 * {@link ProjectionLayout} counts them, and their biases (zeros where there are none).
 */
@SuppressWarnings("ArrayRecordComponent") // large, and compared by nobody
record Expert(
    ProjectionLayout layout,
    int hidden,
    float[] first,
    float[] firstBias,
    float[] down,
    float[] downBias) {

  /** Reads an expert's weights. */
  static Expert read(ExpertTensors tensors, int expert, int hidden) {
    ProjectionLayout layout = tensors.layout();
    Expert read =
        new Expert(
            layout,
            hidden,
            new float[Math.multiplyExact(layout.rows(), hidden)],
            new float[layout.rows()],
            new float[Math.multiplyExact(layout.width(), hidden)],
            new float[hidden]);
    for (int row = 0; row < layout.rows(); row++) {
      Objects.requireNonNull(tensors.first(expert, row)).read(read.first, row * hidden);
    }
    for (int h = 0; h < hidden; h++) {
      Objects.requireNonNull(tensors.down(expert, h)).read(read.down, h * layout.width());
    }
    ExpertTensors.Row firstBias = tensors.firstBias(expert);
    for (int row = 0; firstBias != null && row < layout.rows(); row++) {
      read.firstBias[row] = (float) firstBias.get(layout.stored(row));
    }
    ExpertTensors.Row downBias = tensors.downBias(expert);
    if (downBias != null) {
      downBias.read(read.downBias, 0);
    }
    return read;
  }

  int width() {
    return layout.width();
  }

  /** The gate of column i in a projection; the ups themselves where there is no gate. */
  int gateRow(int i) {
    return i;
  }

  /** The up value of column i in a projection. */
  int upRow(int i) {
    return layout.gated() ? layout.width() + i : i;
  }

  /** z = W x + b, in float64. */
  double[] project(double[] x) {
    double[] z = new double[layout.rows()];
    for (int row = 0; row < z.length; row++) {
      double sum = firstBias[row];
      for (int h = 0; h < hidden; h++) {
        sum += x[h] * first[row * hidden + h];
      }
      z[row] = sum;
    }
    return z;
  }

  /** a = f(gate, up), in float64. */
  double[] activate(ExpertFunction f, double[] z) {
    double[] a = new double[width()];
    for (int i = 0; i < a.length; i++) {
      a[i] = f.value(z[gateRow(i)], z[upRow(i)]);
    }
    return a;
  }

  /** The output W a + b, in float64. */
  double[] down(double[] a) {
    double[] out = new double[hidden];
    for (int h = 0; h < hidden; h++) {
      double sum = downBias[h];
      for (int i = 0; i < a.length; i++) {
        sum += a[i] * down[h * a.length + i];
      }
      out[h] = sum;
    }
    return out;
  }

  /** The gradient of a from that of the output. */
  double[] downTransposed(double[] dout) {
    double[] da = new double[width()];
    for (int h = 0; h < hidden; h++) {
      for (int i = 0; i < da.length; i++) {
        da[i] += dout[h] * down[h * da.length + i];
      }
    }
    return da;
  }

  /** The gradient of z from that of a. */
  double[] activateTransposed(ExpertFunction f, double[] z, double[] da) {
    double[] dz = new double[z.length];
    for (int i = 0; i < da.length; i++) {
      double g = z[gateRow(i)];
      double u = z[upRow(i)];
      if (layout.gated()) {
        dz[gateRow(i)] = da[i] * f.byGate(g, u);
      }
      dz[upRow(i)] = da[i] * f.byUp(g, u);
    }
    return dz;
  }

  /** Adds the gradient of x from that of z. */
  void projectTransposed(double[] dz, double[] dx) {
    for (int row = 0; row < dz.length; row++) {
      for (int h = 0; h < hidden; h++) {
        dx[h] += dz[row] * first[row * hidden + h];
      }
    }
  }
}
