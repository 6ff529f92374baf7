package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.Event;
import dev.weft.Graph;
import dev.weft.HostTensor;
import dev.weft.Limits;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.backend.cuda.CudaProvider;
import dev.weft.moe.MoeBinding;
import dev.weft.moe.MoeDispatch;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Deque;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.stream.IntStream;

/**
 * Times the experts of Mixtral-8x7B, Qwen3-30B-A3B and DeepSeek-V3 in BF16, the routing given (ids
 * from a fixed seed, all distinct in a token, every expert as likely). A program, not a test; see
 * docs/cuda.md. Arguments: a part of the model's name, then token counts; all where there are none.
 *
 * <p>Eager: median of events around single launches. Graph: a launch among several in one graph,
 * enough of them that their weights exceed the L2 cache, median of replays. TB/s: the touched
 * experts' weights over the graph's time; a kernel that only reads reaches 4.4 on an H200. Error:
 * two tokens' outputs against float64, relative to their norm.
 */
@SuppressWarnings("try") // closing may be interrupted, like any main program
public final class MoeTimings implements AutoCloseable {
  private static final int REPEATS = 15;
  private static final long PATTERN = 8L * 500_009; // elements; weights repeat with this period

  private record Model(String name, int hidden, int width, int experts, int topK) {}

  private static final List<Model> MODELS =
      List.of(
          new Model("Mixtral-8x7B", 4096, 14336, 8, 2),
          new Model("Qwen3-30B-A3B", 2048, 768, 128, 8),
          new Model("DeepSeek-V3", 7168, 2048, 256, 8));

  private final Device device = Weft.open(new CudaProvider(), "", DeviceOptions.builder().build());
  private final Stream stream = device.newStream();
  private final Deque<AutoCloseable> open = new ArrayDeque<>();
  private final float[] pattern = new float[(int) PATTERN];
  private final Tensor drawn;

  private MoeTimings() {
    SplittableRandom random = new SplittableRandom(1);
    HostTensor host = HostTensor.allocate(DataType.BF16, PATTERN);
    for (int i = 0; i < PATTERN; i++) {
      host.set(i, (random.nextDouble() - 0.5) * 0.1);
      pattern[i] = (float) host.get(i);
    }
    drawn = device.upload(host);
  }

  /** Prints a table. */
  public static void main(String[] args) throws Exception {
    String only = args.length > 0 ? args[0] : "";
    int[] tokens =
        args.length > 1
            ? Arrays.stream(args).skip(1).mapToInt(Integer::parseInt).toArray()
            : new int[] {1, 8, 32, 128, 512, 2048, 8192};
    try (MoeTimings t = new MoeTimings()) {
      System.out.println(t.device.info());
      System.out.println(
          "model          | tokens | experts | eager ms | graph ms |  TB/s | TFLOP/s |   error");
      for (Model model : MODELS) {
        if (model.name.contains(only)) {
          t.model(model, tokens);
        }
      }
    }
  }

  private <T extends AutoCloseable> T keep(T thing) {
    open.push(thing);
    return thing;
  }

  /** Random numbers that repeat with {@link #PATTERN}, so that the host knows them too. */
  private Tensor noise(long... shape) {
    Tensor tensor = keep(device.allocate(DataType.BF16, shape));
    long elements = tensor.elements();
    Tensor flat = tensor.reshape(elements);
    for (long done = 0; done < elements; ) {
      // What is there already, in whole patterns, doubles each time.
      long n = Math.min(done == 0 ? PATTERN : done, elements - done);
      stream.copy((done == 0 ? drawn : flat).slice(0, 0, n), flat.slice(0, done, done + n));
      done += n;
    }
    stream.synchronize();
    return tensor;
  }

  private void model(Model m, int[] tokenCounts) throws Exception {
    MoeDispatchSpec spec =
        MoeDispatchSpec.builder()
            .dataType(DataType.BF16)
            .hidden(m.hidden)
            .intermediate(m.width)
            .experts(m.experts)
            .topK(m.topK)
            .router(RouterSpec.builder().source(RouterSpec.Source.GIVEN).build())
            .build();
    MoeDispatch moe = keep(device.prepare(spec));
    MoeBinding weights =
        keep(
            moe.bind(
                MoeWeights.of(noise(m.experts, m.hidden, m.width))
                    .gateUp(noise(m.experts, 2L * m.width, m.hidden))));
    for (int tokens : tokenCounts) {
      row(m, moe, weights, tokens);
    }
    closeAll();
  }

  private void row(Model m, MoeDispatch moe, MoeBinding weights, int tokens) throws Exception {
    SplittableRandom random = new SplittableRandom(tokens * 31L + m.experts);
    int[] ids = new int[tokens * m.topK];
    float[] routing = new float[ids.length];
    BitSet touched = new BitSet();
    for (int t = 0; t < tokens; t++) {
      int[] order = IntStream.range(0, m.experts).toArray();
      for (int k = 0; k < m.topK; k++) {
        int other = k + random.nextInt(m.experts - k);
        int id = order[other];
        order[other] = order[k];
        ids[t * m.topK + k] = id;
        routing[t * m.topK + k] = (float) random.nextDouble(0.1, 1);
        touched.set(id);
      }
    }
    Tensor x = noise(tokens, m.hidden);
    Tensor y = noise(tokens, m.hidden);
    MoeForward a =
        MoeForward.of(weights, x, y)
            .givenIds(keep(device.upload(HostTensor.ofInts(ids, tokens, m.topK))))
            .givenWeights(
                keep(device.upload(HostTensor.ofFloats(DataType.F32, routing, tokens, m.topK))));
    stream.reserve(moe.workspaceBytes(Limits.of(tokens, 1)));
    double eager = median(() -> moe.forward(stream, a), 1);
    double bytes = touched.cardinality() * 6.0 * m.hidden * m.width;
    int launches = (int) Math.max(2, Math.min(20, 400e6 / bytes));
    double graph;
    try (Graph captured =
        stream.capture(s -> {
          for (int i = 0; i < launches; i++) {
            moe.forward(s, a);
          }
        })) {
      graph = median(() -> captured.launch(stream), launches);
    }
    System.out.printf(
        Locale.ROOT,
        "%-14s | %6d | %7d | %8.4f | %8.4f | %5.2f | %7.1f | %.1e%n",
        m.name,
        tokens,
        touched.cardinality(),
        eager * 1e3,
        graph * 1e3,
        bytes / graph * 1e-12,
        6.0 * ids.length * m.hidden * m.width / graph * 1e-12,
        error(m, tokens, ids, routing, y));
  }

  /** Seconds of one of some launches. */
  private double median(Runnable launch, int launches) {
    double[] seconds = new double[REPEATS];
    for (int i = -3; i < REPEATS; i++) {
      try (Event start = stream.record()) {
        launch.run();
        try (Event end = stream.record()) {
          end.synchronize();
          if (i >= 0) {
            seconds[i] = end.nanosSince(start) * 1e-9 / launches;
          }
        }
      }
    }
    Arrays.sort(seconds);
    return seconds[REPEATS / 2];
  }

  private double value(long flat) {
    return pattern[(int) (flat % PATTERN)];
  }

  /** The first and the last token's output against float64. */
  private double error(Model m, int tokens, int[] ids, float[] routing, Tensor y) {
    double difference = 0;
    double norm = 0;
    for (int t : tokens == 1 ? new int[] {0} : new int[] {0, tokens - 1}) {
      double[] want = new double[m.hidden];
      for (int k = 0; k < m.topK; k++) {
        long e = ids[t * m.topK + k];
        double weight = routing[t * m.topK + k];
        double[] act = new double[m.width];
        IntStream.range(0, m.width)
            .parallel()
            .forEach(i -> {
              double g = 0;
              double u = 0;
              long gate = (e * 2 * m.width + i) * m.hidden;
              long up = gate + (long) m.width * m.hidden;
              for (int h = 0; h < m.hidden; h++) {
                double x = value((long) t * m.hidden + h);
                g += x * value(gate + h);
                u += x * value(up + h);
              }
              act[i] = g / (1 + Math.exp(-g)) * u;
            });
        IntStream.range(0, m.hidden)
            .parallel()
            .forEach(h -> {
              double sum = 0;
              for (int i = 0; i < m.width; i++) {
                sum += act[i] * value((e * m.hidden + h) * m.width + i);
              }
              want[h] += weight * sum;
            });
      }
      HostTensor got = HostTensor.allocate(DataType.BF16, m.hidden);
      stream.download(y.select(0, t), got);
      stream.synchronize();
      for (int h = 0; h < m.hidden; h++) {
        difference += Math.pow(got.get(h) - want[h], 2);
        norm += Math.pow(want[h], 2);
      }
    }
    return Math.sqrt(difference / norm);
  }

  private void closeAll() throws Exception {
    stream.synchronize();
    while (!open.isEmpty()) {
      open.pop().close();
    }
    device.trim();
  }

  @Override
  public void close() throws Exception {
    closeAll();
    drawn.close();
    stream.close();
    device.close();
  }
}
