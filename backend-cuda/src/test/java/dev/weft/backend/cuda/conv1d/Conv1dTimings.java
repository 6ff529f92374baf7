package dev.weft.backend.cuda.conv1d;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.Event;
import dev.weft.Graph;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.backend.cuda.CudaProvider;
import dev.weft.conv1d.CausalConv1d;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;

/**
 * Times causal conv1d on the shapes that published kernels are measured on: Qwen3-Next (8192
 * channels) and Mamba2-2.7B, BF16, width 4, SiLU. A program, not a test; see docs/cuda.md.
 *
 * <p>Device time: median of 60 launches between two events each, the L2 cache overwritten before
 * each. Graph: the same launch 20 times in one graph, over buffers that together exceed the L2.
 * Wall: host time of back-to-back launches, the queue never full. Copy: a device copy of half the
 * bytes that the launch must move, measured like the launch.
 */
public final class Conv1dTimings implements AutoCloseable {
  private static final int REPEATS = 60;
  private static final int WALL_REPEATS = 200;
  private static final long FLUSH_BYTES = 256L << 20;

  private final Device device = Weft.open(new CudaProvider(), "", DeviceOptions.builder().build());
  private final Stream stream = device.newStream();
  private final Tensor flush = device.allocate(DataType.U8, FLUSH_BYTES);
  private final Deque<AutoCloseable> open = new ArrayDeque<>();
  private final SplittableRandom random = new SplittableRandom(1);

  private final Tensor drawn;

  private Conv1dTimings() {
    HostTensor host = HostTensor.allocate(DataType.BF16, 1 << 20);
    for (int i = 0; i < host.elements(); i++) {
      host.set(i, random.nextDouble() * 4 - 2);
    }
    drawn = device.upload(host);
  }

  /** Prints a table. */
  public static void main(String[] args) throws Exception {
    String only = args.length > 0 ? args[0] : "";
    try (Conv1dTimings t = new Conv1dTimings()) {
      System.out.println(t.device.info());
      System.out.println(
          "case                              |   gpu us |      min |  graph us |  wall us | copy us"
              + " |      MB |  TB/s");
      t.all(only);
    }
  }

  private void all(String only) throws Exception {
    int qwen = 8192;
    for (int tokens : new int[] {128, 1024, 8192, 32768, 65536}) {
      forward(only, "forward 1 x " + tokens, qwen, 0, lengths(1, tokens), true);
    }
    forward(only, "forward 1 x 8192, no states", qwen, 0, lengths(1, 8192), false);
    forward(only, "forward 16 x 512", qwen, 0, lengths(16, 512), true);
    forward(only, "forward 256 ragged, 16384 tokens", qwen, 0, ragged(256, 16384), true);
    int[] skewed = lengths(256, 32);
    skewed[0] = 8192;
    forward(only, "forward 8192 + 255 x 32", qwen, 0, skewed, true);
    forward(only, "forward 256 x 1", qwen, 0, lengths(256, 1), true);
    forward(only, "forward Mamba2 8 x 1024, pitch 10576", 5376, 10576, lengths(8, 1024), true);
    for (boolean packed : new boolean[] {true, false}) {
      for (int batch : new int[] {1, 128, 512}) {
        update(only, batch, packed);
      }
    }
    backward(only, "backward 1 x 8192", lengths(1, 8192), false);
    backward(only, "backward 16 x 512, states", lengths(16, 512), true);
    backward(only, "backward 1 x 32768", lengths(1, 32768), false);
  }

  private static int[] lengths(int sequences, int length) {
    int[] lengths = new int[sequences];
    Arrays.fill(lengths, length);
    return lengths;
  }

  private int[] ragged(int sequences, int tokens) {
    double[] weights = new double[sequences];
    double sum = 0;
    for (int b = 0; b < sequences; b++) {
      weights[b] = random.nextDouble();
      sum += weights[b];
    }
    int[] lengths = new int[sequences];
    int left = tokens;
    for (int b = 0; b < sequences - 1; b++) {
      lengths[b] = Math.min(left, Math.max(1, (int) (weights[b] / sum * tokens)));
      left -= lengths[b];
    }
    lengths[sequences - 1] = left;
    return lengths;
  }

  private <T extends AutoCloseable> T keep(T thing) {
    open.push(thing);
    return thing;
  }

  private Tensor tensor(DataType type, long... shape) {
    return keep(device.allocate(type, shape));
  }

  /** A BF16 tensor of random numbers from -2 to 2. */
  private Tensor noise(long... shape) {
    Tensor tensor = tensor(DataType.BF16, shape);
    long elements = tensor.elements();
    long chunk = Math.min(elements, drawn.elements());
    Tensor flat = tensor.reshape(elements);
    stream.copy(drawn.slice(0, 0, chunk), flat.slice(0, 0, chunk));
    for (long done = chunk; done < elements; ) {
      long n = Math.min(done, elements - done);
      stream.copy(flat.slice(0, 0, n), flat.slice(0, done, done + n));
      done += n;
    }
    stream.synchronize();
    return tensor;
  }

  private Tensor ints(int... values) {
    return keep(device.upload(HostTensor.ofInts(values, values.length)));
  }

  private static int[] starts(int[] lengths) {
    int[] starts = new int[lengths.length + 1];
    for (int b = 0; b < lengths.length; b++) {
      starts[b + 1] = starts[b] + lengths[b];
    }
    return starts;
  }

  private Tensor ones(int count) {
    HostTensor host = HostTensor.allocate(DataType.U8, count);
    for (int i = 0; i < count; i++) {
      host.set(i, 1);
    }
    return keep(device.upload(host));
  }

  private static int[] iota(int count) {
    int[] values = new int[count];
    for (int i = 0; i < count; i++) {
      values[i] = i;
    }
    return values;
  }

  private CausalConv1dSpec spec(int channels, Mode mode) {
    return CausalConv1dSpec.builder()
        .dataType(DataType.BF16)
        .channels(channels)
        .width(4)
        .modes(mode)
        .build();
  }

  private void forward(
      String only, String name, int channels, int pitch, int[] lengths, boolean stateful)
      throws Exception {
    if (!name.contains(only)) {
      return;
    }
    int[] starts = starts(lengths);
    long tokens = starts[lengths.length];
    CausalConv1d conv = keep(device.prepare(spec(channels, Mode.FORWARD)));
    Conv1dBinding weights = keep(conv.bind(noise(channels, 4), null));
    Tensor cu = ints(starts);
    Tensor states = stateful ? noise(lengths.length, channels, 3) : null;
    Tensor slots = stateful ? ints(iota(lengths.length)) : null;
    Tensor initial = stateful ? ones(lengths.length) : null;
    List<Runnable> launches = new ArrayList<>();
    long bytes = tokens * channels * 4 + (stateful ? lengths.length * (long) channels * 12 : 0);
    for (int i = 0; i < copies(bytes); i++) {
      Tensor x =
          pitch == 0
              ? noise(tokens, channels)
              : noise(tokens, pitch).slice(1, 5120, 5120 + channels);
      Tensor out = tensor(DataType.BF16, tokens, channels);
      Conv1dForward a =
          Conv1dForward.of(weights, x, cu, out)
              .states(states)
              .cacheIndices(slots)
              .hasInitialState(initial);
      launches.add(() -> conv.forward(stream, a));
    }
    report(name, bytes, launches);
  }

  /** How many sets of buffers exceed the L2 together. */
  private static int copies(long bytes) {
    return (int) Math.max(1, Math.min(20, FLUSH_BYTES / bytes + 1));
  }

  private void update(String only, int batch, boolean packed) throws Exception {
    String name = "update B=" + batch + (packed ? ", [slot, C, 3]" : ", [slot, 3, C]");
    if (!name.contains(only)) {
      return;
    }
    int channels = 8192;
    CausalConv1d conv = keep(device.prepare(spec(channels, Mode.UPDATE)));
    Conv1dBinding weights = keep(conv.bind(noise(channels, 4), null));
    Tensor slots = ints(iota(batch));
    List<Runnable> launches = new ArrayList<>();
    long bytes = batch * (long) channels * 16;
    for (int i = 0; i < copies(bytes); i++) {
      Tensor states =
          packed ? noise(batch, channels, 3) : noise(batch, 3, channels).transpose(1, 2);
      Conv1dUpdate a =
          Conv1dUpdate.of(
              weights,
              noise(batch, 1, channels),
              states,
              slots,
              tensor(DataType.BF16, batch, 1, channels));
      launches.add(() -> conv.update(stream, a));
    }
    report(name, bytes, launches);
  }

  private void backward(String only, String name, int[] lengths, boolean stateful)
      throws Exception {
    if (!name.contains(only)) {
      return;
    }
    int channels = 8192;
    int[] starts = starts(lengths);
    long tokens = starts[lengths.length];
    CausalConv1d conv = keep(device.prepare(spec(channels, Mode.BACKWARD)));
    Conv1dBinding weights = keep(conv.bind(noise(channels, 4), null));
    Conv1dBackward a =
        Conv1dBackward.of(weights, noise(tokens, channels), ints(starts), noise(tokens, channels))
            .dx(tensor(DataType.BF16, tokens, channels))
            .dweight(tensor(DataType.F32, channels, 4));
    if (stateful) {
      a =
          a.initialStates(noise(lengths.length, channels, 3))
              .hasInitialState(ones(lengths.length))
              .dfinalStates(noise(lengths.length, channels, 3))
              .dinitialStates(tensor(DataType.BF16, lengths.length, channels, 3));
    }
    Conv1dBackward arguments = a;
    long bytes = tokens * channels * 6;
    report(name, bytes, List.of(() -> conv.backward(stream, arguments)));
  }

  private void report(String name, long bytes, List<Runnable> launches) throws Exception {
    Tensor source = tensor(DataType.U8, bytes / 2);
    Tensor target = tensor(DataType.U8, bytes / 2);
    wall(launches); // warms up
    double[] gpu = events(launches);
    double copy = events(List.of(() -> stream.copy(source, target)))[REPEATS / 2];
    double graph = graph(launches);
    double wall = wall(launches);
    System.out.printf(
        Locale.ROOT,
        "%-40s | %7.1f | %7.1f | %8.1f | %7.1f | %7.1f | %7.1f | %5.2f%n",
        name,
        gpu[REPEATS / 2],
        gpu[0],
        graph,
        wall,
        copy,
        bytes / 1e6,
        bytes / gpu[REPEATS / 2] / 1e6);
    while (!open.isEmpty()) {
      open.pop().close();
    }
    device.trim();
  }

  /** Microseconds of the device between two events, sorted. */
  private double[] events(List<Runnable> launches) {
    double[] micros = new double[REPEATS];
    for (int i = -5; i < REPEATS; i++) {
      stream.fill(flush, (byte) i);
      Event start = stream.record();
      launches.get(Math.floorMod(i, launches.size())).run();
      Event end = stream.record();
      stream.synchronize();
      if (i >= 0) {
        micros[i] = end.nanosSince(start) / 1e3;
      }
      start.close();
      end.close();
    }
    Arrays.sort(micros);
    return micros;
  }

  /** Microseconds of one launch within a graph of many. */
  private double graph(List<Runnable> launches) {
    int inGraph = 20;
    launches.getFirst().run();
    stream.synchronize();
    double[] micros = new double[9];
    try (Graph graph =
        stream.capture(s -> {
          for (int i = 0; i < inGraph; i++) {
            launches.get(i % launches.size()).run();
          }
        })) {
      for (int i = 0; i < micros.length; i++) {
        Event start = stream.record();
        graph.launch(stream);
        Event end = stream.record();
        stream.synchronize();
        micros[i] = end.nanosSince(start) / 1e3 / inGraph;
        start.close();
        end.close();
      }
    }
    Arrays.sort(micros);
    return micros[micros.length / 2];
  }

  /** Host microseconds of a launch, in runs short enough that the queue never fills. */
  private double wall(List<Runnable> launches) {
    double[] micros = new double[9];
    for (int run = 0; run < micros.length; run++) {
      long start = System.nanoTime();
      for (int i = 0; i < WALL_REPEATS; i++) {
        launches.get(i % launches.size()).run();
      }
      micros[run] = (System.nanoTime() - start) / 1e3 / WALL_REPEATS;
      stream.synchronize();
    }
    Arrays.sort(micros);
    return micros[micros.length / 2];
  }

  @Override
  public void close() {
    device.close();
  }
}
