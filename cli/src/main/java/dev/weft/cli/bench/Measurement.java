package dev.weft.cli.bench;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOutOfMemoryException;
import dev.weft.Event;
import dev.weft.Graph;
import dev.weft.Stream;
import dev.weft.Tensor;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;

/**
 * Times of one launch.
 *
 * @param preset its name
 * @param type its storage type
 * @param spec the prepared spec
 * @param note what else is to be known
 * @param runs how often it was launched
 * @param medianNanos device time between two events around the launch, caches cold
 * @param p10Nanos a tenth of the runs took less
 * @param p90Nanos a tenth of the runs took more
 * @param graphNanos median device time of the same launch replayed as a graph, caches cold; NaN if
 *     the device has no graphs
 * @param launches what a launch gives to the device, kernels, copies and fills; -1 if not known
 * @param copyNanos median device time of a copy within the device's memory that reads and writes as
 *     many bytes as the launch has to, measured in the same way; NaN where nothing is to be read
 *     off it, or where there is no memory for it
 * @param hostNanos median host time of the call that enqueues it
 * @param bytes what has to cross device memory at least once
 * @param flops floating point operations
 * @param workspaceBytes memory of the stream beside the tensors
 */
public record Measurement(
    String preset,
    String type,
    String spec,
    String note,
    int runs,
    double medianNanos,
    double p10Nanos,
    double p90Nanos,
    double graphNanos,
    int launches,
    double copyNanos,
    double hostNanos,
    long bytes,
    double flops,
    long workspaceBytes) {
  private static final int FEWEST_RUNS = 5;
  private static final int MOST_RUNS = 1000;
  private static final int GRAPH_RUNS = 15;

  /**
   * Measures.
   *
   * @param workload what
   * @param preset its name
   * @param type its storage type
   * @param device where
   * @param sweep a tensor larger than the caches, overwritten before each run
   * @param time how long to warm up, and then how long to measure; at least a few runs each
   * @return the times
   */
  public static Measurement of(
      Workload workload, String preset, String type, Device device, Tensor sweep, Duration time) {
    try (Stream stream = device.newStream()) {
      repeat(workload::launch, stream, sweep, time, new ArrayList<>(), new ArrayList<>());
      List<Double> device1 = new ArrayList<>();
      List<Double> host = new ArrayList<>();
      repeat(workload::launch, stream, sweep, time, device1, host);
      double[] nanos = sorted(device1);
      Replays replays = replays(workload, stream, sweep);
      return new Measurement(
          preset,
          type,
          workload.spec(),
          workload.note(),
          nanos.length,
          quantile(nanos, 0.5),
          quantile(nanos, 0.1),
          quantile(nanos, 0.9),
          replays.nanos,
          replays.launches,
          workload.isLikeACopy()
              ? copyNanos(workload.bytes(), device, stream, sweep, time)
              : Double.NaN,
          quantile(sorted(host), 0.5),
          workload.bytes(),
          workload.flops(),
          workload.workspaceBytes());
    }
  }

  private static void repeat(
      Consumer<Stream> launch,
      Stream stream,
      Tensor sweep,
      Duration time,
      List<Double> deviceNanos,
      List<Double> hostNanos) {
    long end = System.nanoTime() + time.toNanos();
    for (int run = 0; run < FEWEST_RUNS || (run < MOST_RUNS && System.nanoTime() < end); run++) {
      stream.fill(sweep, (byte) run);
      try (Event before = stream.record()) {
        long start = System.nanoTime();
        launch.accept(stream);
        hostNanos.add((double) (System.nanoTime() - start));
        try (Event after = stream.record()) {
          stream.synchronize();
          deviceNanos.add(after.nanosSince(before));
        }
      }
    }
  }

  /** A copy of half of the bytes, which reads that half and writes it. */
  private static double copyNanos(
      long bytes, Device device, Stream stream, Tensor sweep, Duration time) {
    long half = bytes / 2;
    try (Tensor source = device.allocate(DataType.U8, half);
        Tensor target = device.allocate(DataType.U8, half)) {
      stream.zero(source); // memory that nobody wrote to may be no memory yet
      stream.zero(target);
      List<Double> nanos = new ArrayList<>();
      repeat(
          copying -> copying.copy(source, target), stream, sweep, time, nanos, new ArrayList<>());
      return quantile(sorted(nanos), 0.5);
    } catch (DeviceOutOfMemoryException e) {
      return Double.NaN;
    }
  }

  private record Replays(double nanos, int launches) {}

  /** The launch as a graph: without the gaps that the host leaves between its parts. */
  private static Replays replays(Workload workload, Stream stream, Tensor sweep) {
    try (Graph graph = stream.capture(workload::launch)) {
      List<Double> nanos = new ArrayList<>();
      for (int run = -2; run < GRAPH_RUNS; run++) {
        stream.fill(sweep, (byte) run);
        try (Event before = stream.record()) {
          graph.launch(stream);
          try (Event after = stream.record()) {
            stream.synchronize();
            if (run >= 0) {
              nanos.add(after.nanosSince(before));
            }
          }
        }
      }
      return new Replays(quantile(sorted(nanos), 0.5), graph.nodes().orElse(-1));
    } catch (UnsupportedOperationException e) {
      return new Replays(Double.NaN, -1); // a backend without graphs
    }
  }

  private static double[] sorted(List<Double> values) {
    double[] sorted = values.stream().mapToDouble(Double::doubleValue).toArray();
    Arrays.sort(sorted);
    return sorted;
  }

  /** Linear between neighbours. */
  static double quantile(double[] sorted, double q) {
    double at = q * (sorted.length - 1);
    int below = (int) at;
    int above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
  }

  /**
   * Returns the rate of computation.
   *
   * @return floating point operations per second
   */
  public double flopsPerSecond() {
    return flops / medianNanos * 1e9;
  }

  /**
   * Returns the rate of necessary traffic.
   *
   * @return bytes per second
   */
  public double bytesPerSecond() {
    return bytes / medianNanos * 1e9;
  }

  /**
   * Returns how many times as long as the copy the launch takes.
   *
   * @return 1 for as long, NaN if no copy was measured
   */
  public double overCopy() {
    return medianNanos / copyNanos;
  }
}
