package dev.weft.backend.cpu.reference;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.spi.Expected;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * An output of the oracle while it is computed, as rows of the tensor's last dimension. Rows that
 * nobody sets stay unwritten.
 */
final class BoundedRows {
  private final int columns;
  private final double[] value;
  private final double[] error;
  private final double[] rms;
  private final boolean[] written;
  private final double @Nullable [] old;

  private BoundedRows(Tensor tensor, double @Nullable [] old) {
    columns = Math.toIntExact(tensor.size(-1));
    int elements = Math.toIntExact(tensor.elements());
    value = new double[elements];
    error = new double[elements];
    rms = new double[elements];
    written = new boolean[columns == 0 ? 0 : elements / columns];
    this.old = old;
  }

  /** An output that is overwritten. */
  static @Nullable BoundedRows of(@Nullable Tensor tensor) {
    return tensor == null ? null : new BoundedRows(tensor, null);
  }

  /** A gradient that is overwritten, or added to what the tensor holds. */
  static @Nullable BoundedRows gradient(@Nullable Tensor tensor, boolean accumulate) {
    if (tensor == null) {
      return null;
    }
    return new BoundedRows(tensor, accumulate ? elements(tensor) : null);
  }

  /** A tensor of rank 1 to 3, row-major. */
  private static double[] elements(Tensor tensor) {
    Elements elements = Elements.of(tensor);
    double[] values = new double[Math.toIntExact(tensor.elements())];
    for (int i = 0; i < values.length; i++) {
      long last = tensor.size(-1);
      long row = i / last;
      long column = i % last;
      values[i] =
          switch (tensor.rank()) {
            case 1 -> elements.get(column);
            case 2 -> elements.get(row, column);
            default -> elements.get(row / tensor.size(1), row % tensor.size(1), column);
          };
    }
    return values;
  }

  /** Sets a row. */
  void set(int row, Bounded values) {
    for (int column = 0; column < columns; column++) {
      set(row, column, values.value[column], values.error[column], values.rms[column]);
    }
  }

  /** Sets an element to a sum; where the output accumulates, what was there is one more term. */
  void set(int row, int column, StageSum sum) {
    if (old != null) {
      sum.add(1, old[row * columns + column]);
    }
    set(row, column, sum.value(), sum.error(), sum.rms());
  }

  private void set(int row, int column, double newValue, double newError, double newRms) {
    int i = row * columns + column;
    value[i] = newValue;
    error[i] = newError;
    rms[i] = newRms;
    written[row] = true;
  }

  /** Ends the computation: counts what storing loses. */
  Expected stored(ToleranceLaw law) {
    Expected expected = law.output(value, error, rms);
    markUnwritten();
    return expected;
  }

  /** Ends the computation of values that must match bit for bit. */
  Expected exact() {
    markUnwritten();
    return new Expected(value, error, new double[0]);
  }

  private void markUnwritten() {
    for (int row = 0; row < written.length; row++) {
      if (!written[row]) {
        Arrays.fill(error, row * columns, (row + 1) * columns, Double.NaN);
        Arrays.fill(rms, row * columns, (row + 1) * columns, 0);
      }
    }
  }
}
