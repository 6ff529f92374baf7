package dev.weft.cli.bench;

import dev.weft.Device;
import dev.weft.Event;
import dev.weft.Graph;
import dev.weft.Stream;
import dev.weft.Tensor;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

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
      repeat(workload, stream, sweep, time, new ArrayList<>(), new ArrayList<>());
      List<Double> device1 = new ArrayList<>();
      List<Double> host = new ArrayList<>();
      repeat(workload, stream, sweep, time, device1, host);
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
          quantile(sorted(host), 0.5),
          workload.bytes(),
          workload.flops(),
          workload.workspaceBytes());
    }
  }

  private static void repeat(
      Workload workload,
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
        workload.launch(stream);
        hostNanos.add((double) (System.nanoTime() - start));
        try (Event after = stream.record()) {
          stream.synchronize();
          deviceNanos.add(after.nanosSince(before));
        }
      }
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
}
