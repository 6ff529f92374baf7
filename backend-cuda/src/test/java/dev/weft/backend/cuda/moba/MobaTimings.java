package dev.weft.backend.cuda.moba;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.Event;
import dev.weft.HostTensor;
import dev.weft.Limits;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.backend.cuda.CudaProvider;
import dev.weft.moba.MobaAttention;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.Locale;
import java.util.SplittableRandom;

/**
 * Times MoBA attention on the shapes that published kernels are measured on, BF16. A program, not a
 * test; see docs/cuda.md.
 *
 * <p>Device time: median of launches between two events each, the L2 cache overwritten before each.
 * TFLOP/s counts 4 (forward) or 10 (backward) operations for each column of each key that a query
 * sees. Scratch: what a launch asks for.
 *
 * <p>Arguments: a part of a row's name, "" for all rows; the number of launches.
 */
public final class MobaTimings implements AutoCloseable {
  private static final long FLUSH_BYTES = 256L << 20;

  /** No multiple of a row, so that no two blocks of keys are alike. */
  private static final int DRAWN = 4_000_037;

  private final Device device = Weft.open(new CudaProvider(), "", DeviceOptions.builder().build());
  private final Stream stream = device.newStream();
  private final Tensor flush = device.allocate(DataType.U8, FLUSH_BYTES);
  private final Deque<AutoCloseable> open = new ArrayDeque<>();
  private final Tensor drawn;
  private final String only;
  private final int repeats;

  private MobaTimings(String only, int repeats) {
    this.only = only;
    this.repeats = repeats;
    SplittableRandom random = new SplittableRandom(7);
    HostTensor host = HostTensor.allocate(DataType.BF16, DRAWN);
    for (int i = 0; i < DRAWN; i++) {
      host.set(i, random.nextGaussian());
    }
    drawn = device.upload(host);
  }

  /** Prints a table. */
  public static void main(String[] args) throws Exception {
    try (MobaTimings t =
        new MobaTimings(
            args.length > 0 ? args[0] : "", args.length > 1 ? Integer.parseInt(args[1]) : 20)) {
      System.out.println(t.device.info());
      System.out.println(
          "case                                       |       ms |      min | TFLOP/s | scratch"
              + " MiB");
      t.all();
    }
  }

  private void all() throws Exception {
    int[][] rows = {
      {32768, 1, 1, 128, 512, 3},
      {8192, 16, 16, 128, 512, 3},
      {32768, 16, 16, 128, 512, 8},
      {65536, 16, 16, 128, 512, 8},
      {131072, 16, 16, 128, 512, 8},
      {32768, 16, 16, 128, 128, 8},
      {131072, 16, 16, 128, 128, 8},
      {65536, 16, 16, 64, 128, 8},
      {65536, 32, 8, 128, 512, 8},
    };
    for (Mode mode : new Mode[] {Mode.FORWARD, Mode.BACKWARD}) {
      for (int[] row : rows) {
        packed(mode, row[0], row[1], row[2], row[3], row[4], row[5]);
      }
    }
    decode(32, 131_072, 8, 8);
    decode(32, 131_072, 32, 8);
    decode(1, 131_072, 32, 8);
  }

  private <T extends AutoCloseable> T keep(T thing) {
    open.push(thing);
    return thing;
  }

  private Tensor tensor(DataType type, long... shape) {
    return keep(device.allocate(type, shape));
  }

  /** A BF16 tensor of normal random numbers. */
  private Tensor noise(long... shape) {
    Tensor tensor = tensor(DataType.BF16, shape);
    long elements = tensor.elements();
    long chunk = Math.min(elements, DRAWN);
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

  /** Keys that a query sees, on average. */
  private static double keys(long tokens, int block, int topK) {
    double sum = 0;
    for (long t = 0; t < tokens; t++) {
      sum += Math.min(topK - 1, t / block) * (double) block + t % block + 1;
    }
    return sum / tokens;
  }

  private void packed(Mode mode, int tokens, int heads, int kvHeads, int dim, int block, int topK)
      throws Exception {
    String name =
        String.format(
            Locale.ROOT,
            "%s %d, H %d/%d, D %d, B %d, k %d",
            mode.name().toLowerCase(Locale.ROOT),
            tokens,
            heads,
            kvHeads,
            dim,
            block,
            topK);
    if (!name.contains(only)) {
      return;
    }
    MobaAttentionSpec spec =
        MobaAttentionSpec.builder()
            .dataType(DataType.BF16)
            .heads(heads)
            .kvHeads(kvHeads)
            .headDim(dim)
            .blockSize(block)
            .topK(topK)
            .modes(Mode.FORWARD)
            .build();
    Tensor q = noise(tokens, heads, dim);
    Tensor k = noise(tokens + 3, kvHeads, dim).slice(0, 3, tokens + 3);
    Tensor v = noise(tokens + 7, kvHeads, dim).slice(0, 7, tokens + 7);
    Tensor starts = ints(0, tokens);
    Tensor out = tensor(DataType.BF16, tokens, heads, dim);
    Tensor lse = tensor(DataType.F32, tokens, heads);
    Tensor selection = tensor(DataType.I32, tokens, heads, topK - 1);
    double flops = 4.0 * dim * tokens * heads * keys(tokens, block, topK);
    MobaAttention forward = keep(device.prepare(spec));
    MobaForward a = MobaForward.of(q, k, v, starts, out).lse(lse).selection(selection);
    if (mode == Mode.FORWARD) {
      report(name, flops, scratch(forward, mode, tokens), () -> forward.forward(stream, a));
      return;
    }
    MobaAttentionSpec other = spec.toBuilder().modes(mode).build();
    if (!device.supports(other).isSupported()) {
      closeAll();
      return;
    }
    forward.forward(stream, a);
    MobaAttention backward = keep(device.prepare(other));
    MobaBackward b =
        MobaBackward.of(q, k, v, starts, out, lse, noise(tokens, heads, dim))
            .selection(selection)
            .dq(tensor(DataType.BF16, tokens, heads, dim))
            .dk(tensor(DataType.BF16, tokens, kvHeads, dim))
            .dv(tensor(DataType.BF16, tokens, kvHeads, dim));
    report(
        name, flops * 5 / 2, scratch(backward, mode, tokens), () -> backward.backward(stream, b));
  }

  private static long scratch(MobaAttention moba, Mode mode, int tokens) {
    return moba.workspaceBytes(mode, Limits.of(tokens, 1));
  }

  /** One new token of each sequence; every sequence has pages and means of its own. */
  private void decode(int batch, int context, int heads, int kvHeads) throws Exception {
    int block = 512;
    int topK = 8;
    int pageSize = 64;
    int dim = 128;
    String name =
        String.format(
            Locale.ROOT, "decode %d x %d, H %d/%d, B 512, k 8", batch, context, heads, kvHeads);
    if (!name.contains(only)) {
      return;
    }
    int columns = context / pageSize;
    int pages = columns * Math.min(batch, 4); // more would not fit a smaller device
    MobaAttentionSpec spec =
        MobaAttentionSpec.builder()
            .dataType(DataType.BF16)
            .heads(heads)
            .kvHeads(kvHeads)
            .headDim(dim)
            .blockSize(block)
            .topK(topK)
            .pageSize(pageSize)
            .modes(Mode.PAGED)
            .build();
    int[] table = new int[batch * columns];
    int[] starts = new int[batch + 1];
    int[] lengths = new int[batch];
    SplittableRandom random = new SplittableRandom(3);
    for (int b = 0; b < batch; b++) {
      int own = b % 4 * columns;
      for (int i = 0; i < columns; i++) {
        table[b * columns + i] = own + (int) ((i * 1031L + b) % columns);
      }
      starts[b + 1] = b + 1;
      lengths[b] = context - random.nextInt(block);
    }
    MobaAttention moba = keep(device.prepare(spec));
    MobaPaged a =
        MobaPaged.of(
            noise(batch, heads, dim),
            ints(starts),
            ints(lengths),
            keep(device.upload(HostTensor.ofInts(table, batch, columns))),
            noise(pages, pageSize, kvHeads, dim),
            noise(pages, pageSize, kvHeads, dim),
            noise(pages, 1, kvHeads, dim),
            tensor(DataType.BF16, batch, heads, dim));
    // Operations stand for bytes here: those of the selected blocks, at one a byte.
    double bytes = 4.0 * dim * batch * heads * ((topK - 1) * block + block / 2.0);
    report(
        name + " (TB/s)",
        bytes,
        moba.workspaceBytes(Mode.PAGED, new Limits(batch, batch, columns)),
        () -> moba.paged(stream, a));
  }

  private void report(String name, double flops, long scratch, Runnable launch) throws Exception {
    double[] millis = new double[repeats];
    for (int i = -3; i < repeats; i++) {
      stream.fill(flush, (byte) i);
      Event start = stream.record();
      launch.run();
      Event end = stream.record();
      stream.synchronize();
      if (i >= 0) {
        millis[i] = end.nanosSince(start) / 1e6;
      }
      start.close();
      end.close();
    }
    Arrays.sort(millis);
    double median = millis[repeats / 2];
    System.out.printf(
        Locale.ROOT,
        "%-42s | %8.3f | %8.3f | %7.2f | %8.1f%n",
        name,
        median,
        millis[0],
        flops / median / 1e9,
        scratch / 1048576.0);
    closeAll();
  }

  private void closeAll() throws Exception {
    stream.synchronize();
    while (!open.isEmpty()) {
      open.pop().close();
    }
    device.trim();
  }

  @Override
  public void close() {
    device.close();
  }
}
