package dev.weft;

import java.util.function.Function;

/**
 * The checks of values that several operations share. For authors of operations.
 *
 * <p>{@code cu_seqlens} [B+1] I32 holds where each sequence starts in the packed rows: it ascends
 * from 0, and rows from its last value on are padding.
 */
public final class Sequences {
  private Sequences() {}

  /**
   * Returns the number of sequences.
   *
   * @param launch the launch's name, for errors
   * @param cuSeqlens [B+1]
   * @return B
   * @throws IllegalArgumentException if the tensor has no element
   */
  public static long count(String launch, Tensor cuSeqlens) {
    if (cuSeqlens.rank() != 1 || cuSeqlens.size(0) < 1) {
      throw new IllegalArgumentException(
          launch + ": cuSeqlens: expected i32[B+1], but was " + cuSeqlens);
    }
    return cuSeqlens.size(0) - 1;
  }

  /**
   * Checks that lengths ascend from 0 and end within the rows.
   *
   * @param launch the launch's name, for errors
   * @param download reads a tensor
   * @param cuSeqlens [B+1]
   * @param rows T
   */
  public static void checkAscending(
      String launch, Function<Tensor, HostTensor> download, Tensor cuSeqlens, long rows) {
    HostTensor values = download.apply(cuSeqlens);
    long previous = 0;
    for (long i = 0; i < values.elements(); i++) {
      long value = (long) values.get(i);
      if (i == 0 ? value != 0 : value < previous) {
        throw new IllegalArgumentException(
            launch
                + ": cuSeqlens["
                + i
                + "]: expected "
                + (i == 0 ? "0" : "at least " + previous)
                + ", but was "
                + value);
      }
      previous = value;
    }
    if (previous > rows) {
      throw new IllegalArgumentException(
          launch
              + ": cuSeqlens["
              + (values.elements() - 1)
              + "]: expected at most "
              + rows
              + " (the rows given), but was "
              + previous);
    }
  }

  /**
   * Checks that integers lie in a range, or equal a value that means "none".
   *
   * @param launch the launch's name, for errors
   * @param argument the tensor's name
   * @param download reads a tensor
   * @param tensor any I32 tensor
   * @param limit one past the largest legal value; the smallest is 0
   * @param none the value that means none
   */
  public static void checkRange(
      String launch,
      String argument,
      Function<Tensor, HostTensor> download,
      Tensor tensor,
      long limit,
      long none) {
    HostTensor values = download.apply(tensor);
    for (long i = 0; i < values.elements(); i++) {
      long value = (long) values.get(i);
      if (value != none && (value < 0 || value >= limit)) {
        throw new IllegalArgumentException(
            launch
                + ": "
                + argument
                + " (element "
                + i
                + "): expected 0.."
                + (limit - 1)
                + ", or "
                + none
                + " for none, but was "
                + value);
      }
    }
  }
}
