package dev.weft.cli.bench;

import dev.weft.Device;
import dev.weft.Event;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.spi.DeviceDescriptor;
import java.util.Arrays;
import java.util.concurrent.atomic.DoubleAdder;

/**
 * What the device reaches in this very run, beside which a measurement is to be read.
 *
 * @param copyBytesPerSecond a copy from device memory to device memory, read and written bytes both
 *     counted; the best of several
 * @param flopsPerSecond float32 multiply-adds on all cores, in plain Java loops that the compiler
 *     makes vectors of; NaN where the device is no CPU
 */
public record Ceilings(double copyBytesPerSecond, double flopsPerSecond) {
  private static final int COPIES = 12;

  /**
   * Measures.
   *
   * @param device an open device
   * @param sweep a tensor larger than the caches; its halves are copied
   * @return the ceilings
   */
  public static Ceilings measure(Device device, Tensor sweep) {
    DeviceDescriptor descriptor = device.info().descriptor();
    boolean cpu = descriptor.kind() == DeviceDescriptor.Kind.CPU;
    int threads = device.options().threads();
    if (threads == 0) {
      threads = Runtime.getRuntime().availableProcessors();
    }
    return new Ceilings(copy(device, sweep), cpu ? multiplyAdds(threads) : Double.NaN);
  }

  private static double copy(Device device, Tensor sweep) {
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

  private static double multiplyAdds(int threads) {
    DoubleAdder rate = new DoubleAdder();
    Thread[] workers = new Thread[threads];
    for (int i = 0; i < threads; i++) {
      workers[i] = Thread.ofPlatform().start(() -> rate.add(multiplyAddsOfOneCore()));
    }
    try {
      for (Thread worker : workers) {
        worker.join();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
    return rate.sum();
  }

  /** The best of several spells, after one in which the loop is compiled. */
  private static double multiplyAddsOfOneCore() {
    float[] x = new float[1024];
    Arrays.fill(x, 1);
    double best = 0;
    for (int spell = 0; spell < 8; spell++) {
      int rounds = 20_000;
      long start = System.nanoTime();
      for (int round = 0; round < rounds; round++) {
        multiplyAdds(x, 0.999f, 0.001f);
      }
      double seconds = (System.nanoTime() - start) / 1e9;
      best = Math.max(best, 2.0 * 16 * x.length * rounds / seconds);
    }
    // Uses the result, so that the loop is not thrown away.
    return Float.isNaN(x[7]) ? 0 : best;
  }

  /** 16 for each load and store, so that neither of these is what is measured. */
  private static void multiplyAdds(float[] x, float m, float a) {
    for (int i = 0; i < x.length; i++) {
      float v = x[i];
      v = Math.fma(Math.fma(Math.fma(Math.fma(v, m, a), m, a), m, a), m, a);
      v = Math.fma(Math.fma(Math.fma(Math.fma(v, m, a), m, a), m, a), m, a);
      v = Math.fma(Math.fma(Math.fma(Math.fma(v, m, a), m, a), m, a), m, a);
      v = Math.fma(Math.fma(Math.fma(Math.fma(v, m, a), m, a), m, a), m, a);
      x[i] = v;
    }
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
