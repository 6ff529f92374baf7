package dev.weft.cli.bench;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOutOfMemoryException;
import dev.weft.Event;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.spi.HostCeilings;
import java.util.Optional;

/**
 * What the device reaches in this very run, beside which a measurement is to be read.
 *
 * @param copyBytesPerSecond a copy from device memory to device memory, read and written bytes both
 *     counted; the best of several
 * @param flopsPerSecond float32 multiply-adds on registers on all cores; NaN where the device
 *     measures none ({@link HostCeilings})
 * @param readBytesPerSecond reading alone; NaN where the device measures none
 * @param convolutionsPerSecond elements that are convolved in the caches (width 4, SiLU); NaN where
 *     the device measures none
 */
public record Ceilings(
    double copyBytesPerSecond,
    double flopsPerSecond,
    double readBytesPerSecond,
    double convolutionsPerSecond) {
  private static final int COPIES = 12;

  /** Long enough that what an event and a launch take does not count. */
  private static final long COPIED_BYTES = 1L << 30;

  /**
   * Measures.
   *
   * @param device an open device
   * @param sweep a tensor larger than the caches, whose halves are copied if memory is short
   * @return the ceilings
   */
  public static Ceilings measure(Device device, Tensor sweep) {
    Optional<HostCeilings> extension = device.extension(HostCeilings.class);
    if (extension.isEmpty()) {
      return new Ceilings(copy(device, sweep), Double.NaN, Double.NaN, Double.NaN);
    }
    HostCeilings host = extension.get();
    return new Ceilings(
        host.copyBytesPerSecond(),
        host.flopsPerSecond(),
        host.readBytesPerSecond(),
        host.convolutionsPerSecond());
  }

  /** Copies a large tensor, or halves of the given one where there is no room for such. */
  private static double copy(Device device, Tensor sweep) {
    try (Tensor large = device.allocate(DataType.U8, 2 * COPIED_BYTES)) {
      return copyHalves(device, large);
    } catch (DeviceOutOfMemoryException e) {
      return copyHalves(device, sweep);
    }
  }

  private static double copyHalves(Device device, Tensor sweep) {
    long half = sweep.elements() / 2;
    Tensor source = sweep.slice(0, 0, half);
    Tensor target = sweep.slice(0, half, 2 * half);
    double best = Double.POSITIVE_INFINITY;
    try (Stream stream = device.newStream()) {
      for (int i = 0; i < COPIES; i++) {
        try (Event before = stream.record()) {
          stream.copy(source, target);
          try (Event after = stream.record()) {
            stream.synchronize();
            best = Math.min(best, after.nanosSince(before));
          }
        }
      }
    }
    return 2.0 * half * sweep.dataType().bytes() / best * 1e9;
  }

  /**
   * Returns the least time that a launch could take at these rates.
   *
   * @param m the launch
   * @return nanoseconds, the larger of memory and arithmetic
   */
  public double limitNanos(Measurement m) {
    double memory = m.bytes() / copyBytesPerSecond * 1e9;
    return Double.isNaN(flopsPerSecond) ? memory : Math.max(memory, arithmeticNanos(m));
  }

  private double arithmeticNanos(Measurement m) {
    return m.flops() / flopsPerSecond * 1e9;
  }

  /**
   * Says which of the two rates limits a launch.
   *
   * @param m the launch
   * @return {@code memory} or {@code arithmetic}
   */
  public String limitedBy(Measurement m) {
    return limitNanos(m) > m.bytes() / copyBytesPerSecond * 1e9 ? "arithmetic" : "memory";
  }
}
