package dev.weft.benchmarks;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * A launch and the wait for it, by the host's clock and with warm caches. Any preset of {@code weft
 * bench} may be named: {@code -p preset=... -p backend=... -p type=...}.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 3, time = 2)
@Measurement(iterations = 5, time = 2)
@Fork(
    value = 2,
    jvmArgsAppend = {
      "--add-modules=jdk.incubator.vector",
      "--enable-native-access=ALL-UNNAMED",
      "--sun-misc-unsafe-memory-access=allow"
    })
public class LaunchBenchmark {
  /** The backend. */
  @Param("cpu")
  public String backend = "cpu";

  /** The preset. */
  @Param({
    "conv1d/forward/small",
    "conv1d/update/small",
    "moba/forward/4096,4,128,256,4",
    "moe/forward/small",
    "moe/forward/Qwen3-30B-A3B,T=1",
    "moe/forward/Qwen3-30B-A3B,T=512"
  })
  public String preset = "conv1d/forward/small";

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

  /** One launch, and the wait for it. */
  @Benchmark
  public void launchAndWait() {
    launch.launch();
    launch.await();
  }
}
