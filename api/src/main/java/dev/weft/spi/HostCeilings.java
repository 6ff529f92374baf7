package dev.weft.spi;

/**
 * What a device that is the host reaches at most, measured when asked: beside it the times of its
 * kernels are to be read. An extension of such a device ({@link BackendDevice#extension}). Both
 * calls take about a second, use all threads of the device, and mean something only while nothing
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
}
