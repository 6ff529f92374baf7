package dev.weft.benchmarks;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Back-to-back launches: what one costs the caller when the device keeps up, the wall time of
 * serving. With {@code -prof gc} also what a launch allocates on the heap.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 2)
@Measurement(iterations = 5, time = 2)
@Fork(
    value = 2,
    jvmArgsAppend = {
      "--add-modules=jdk.incubator.vector",
      "--enable-native-access=ALL-UNNAMED",
      "--sun-misc-unsafe-memory-access=allow"
    })
public class EnqueueBenchmark {
  private static final int LAUNCHES = 64;

  /** The backend. */
  @Param("cpu")
  public String backend = "cpu";

  /** The preset. */
  @Param({"conv1d/update/small", "moba/paged/small", "moe/forward/small"})
  public String preset = "conv1d/update/small";

  /** The storage type. */
  @Param("f32")
  public String type = "f32";

  private PreparedLaunch launch;

  /** Opens the device, fills the tensors. */
  @Setup(Level.Trial)
  public void open() {
    launch = PreparedLaunch.open(backend, preset, type);
  }

  /** Closes everything. */
  @TearDown(Level.Trial)
  public void close() {
    launch.close();
  }

  /** Many launches, then one wait. */
  @Benchmark
  @OperationsPerInvocation(LAUNCHES)
  public void launchBackToBack() {
    for (int i = 0; i < LAUNCHES; i++) {
      launch.launch();
    }
    launch.await();
  }
}
