package dev.weft.spi;

/**
 * What a device that is the host reaches at most, measured when asked: beside it the times of its
 * kernels are to be read. An extension of such a device ({@link BackendDevice#extension}). Each
 * call takes about a second, use all threads of the device, and mean something only while nothing
 * else runs.
 */
public interface HostCeilings {
  /**
   * Runs float32 multiply-adds on registers alone, on all threads.
   *
   * @return floating point operations per second, a multiply-add counting two
   */
  double flopsPerSecond();

  /**
   * Copies memory much larger than the caches, on all threads.
   *
   * @return bytes read and written per second
   */
  double copyBytesPerSecond();

  /**
   * Reads memory much larger than the caches, on all threads: what a product with few rows, which
   * streams its weights, can reach.
   *
   * @return bytes read per second; NaN if not measured
   */
  default double readBytesPerSecond() {
    return Double.NaN;
  }

  /**
   * Runs the convolution of conv1d (width 4, bias, SiLU) on data in the first-level cache, on all
   * threads.
   *
   * @return elements per second; NaN if not measured
   */
  default double convolutionsPerSecond() {
    return Double.NaN;
  }
}
