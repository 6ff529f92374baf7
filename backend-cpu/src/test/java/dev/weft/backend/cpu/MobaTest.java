package dev.weft.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttention;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import dev.weft.spi.KernelProvider;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Both providers against dense attention under a mask, finite differences, and cases by hand. */
class MobaTest extends OnBothProviders {
  private static final int HEADS = 4;
  private static final int KV_HEADS = 2;
  private static final int DIM = 8;
  private static final int VALUE_DIM = 6;
  private static final int BLOCK = 4;
  private static final int TOP = 3;
  private static final int[] STARTS = {0, 21, 26, 26, 37};
  private static final int TOKENS = 40; // three rows of padding

  private Tensor empty(Device device, DataType type, long... shape) {
    HostTensor host = HostTensor.allocate(type, shape);
    for (long i = 0; i < host.elements(); i++) {
      host.set(i, type == DataType.I32 ? -99 : Double.NaN);
    }
    return keep(device.upload(host));
  }

  private static MobaAttentionSpec.Builder spec() {
    return MobaAttentionSpec.builder()
        .dataType(DataType.F32)
        .heads(HEADS)
        .kvHeads(KV_HEADS)
        .headDim(DIM)
        .valueDim(VALUE_DIM)
        .blockSize(BLOCK)
        .topK(TOP)
        .modes(Mode.FORWARD, Mode.BACKWARD);
  }

  private static float[] random(long seed, int length) {
    Random random = new Random(seed);
    float[] values = new float[length];
    for (int i = 0; i < length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  /** One problem on one device. */
  private final class Problem {
    final float[] q = random(1, TOKENS * HEADS * DIM);
    final float[] k = random(2, TOKENS * KV_HEADS * DIM);
    final float[] v = random(3, TOKENS * KV_HEADS * VALUE_DIM);
    final float[] dout = random(4, TOKENS * HEADS * VALUE_DIM);
    final Device device;
    final MobaAttention moba;
    final Tensor qs;
    final Tensor ks;
    final Tensor vs;
    final Tensor cu;
    final Tensor out;
    final Tensor lse;
    final Tensor selection;

    Problem(Device device) {
      this(device, spec().build());
    }

    Problem(Device device, MobaAttentionSpec spec) {
      this.device = device;
      moba = keep(device.prepare(spec));
      qs = floats(device, q, TOKENS, HEADS, DIM);
      ks = floats(device, k, TOKENS, KV_HEADS, DIM);
      vs = floats(device, v, TOKENS, KV_HEADS, VALUE_DIM);
      cu = ints(device, STARTS);
      out = empty(device, DataType.F32, TOKENS, HEADS, VALUE_DIM);
      lse = empty(device, DataType.F32, TOKENS, HEADS);
      selection = empty(device, DataType.I32, TOKENS, HEADS, TOP - 1);
    }

    void forward() {
      moba.forward(
          device.defaultStream(),
          MobaForward.of(qs, ks, vs, cu, out).lse(lse).selection(selection));
      device.defaultStream().synchronize();
    }

    float[][] backward() {
      Tensor dq = empty(device, DataType.F32, TOKENS, HEADS, DIM);
      Tensor dk = empty(device, DataType.F32, TOKENS, KV_HEADS, DIM);
      Tensor dv = empty(device, DataType.F32, TOKENS, KV_HEADS, VALUE_DIM);
      moba.backward(
          device.defaultStream(),
          MobaBackward.of(qs, ks, vs, cu, out, lse, floats(device, dout, TOKENS, HEADS, VALUE_DIM))
              .selection(selection)
              .dq(dq)
              .dk(dk)
              .dv(dv));
      return new float[][] {
        dq.download().toFloats(), dk.download().toFloats(), dv.download().toFloats()
      };
    }
  }

  @ParameterizedTest
  @MethodSource("providers")
  void forwardIsDenseAttentionUnderAMask(KernelProvider provider) {
    Problem problem = new Problem(device(provider));
    problem.forward();
    int[] selection = problem.selection.download().toInts();
    float[] out = problem.out.download().toFloats();
    float[] lse = problem.lse.download().toFloats();
    double[] q = wide(problem.q);
    double[] k = wide(problem.k);
    double[] v = wide(problem.v);
    for (int b = 0; b + 1 < STARTS.length; b++) {
      for (int t = STARTS[b]; t < STARTS[b + 1]; t++) {
        for (int h = 0; h < HEADS; h++) {
          boolean[] mask = mask(q, k, STARTS[b], t, h, selection);
          double[] want = new double[VALUE_DIM];
          double logSum = attend(q, k, v, mask, t, h, want);
          int row = t * HEADS + h;
          assertEquals(logSum, lse[row], 1e-5, "lse of token " + t + ", head " + h);
          for (int c = 0; c < VALUE_DIM; c++) {
            assertEquals(want[c], out[row * VALUE_DIM + c], 1e-5, "token " + t + ", head " + h);
          }
        }
      }
    }
    for (int i = 37 * HEADS * VALUE_DIM; i < out.length; i++) {
      assertEquals(Float.NaN, out[i], "padding is left alone");
    }
  }

  /** What a query sees; also holds the reported selection to the ranking of all past blocks. */
  private static boolean[] mask(double[] q, double[] k, int start, int t, int h, int[] selection) {
    int own = (t - start) / BLOCK;
    int kvHead = h / (HEADS / KV_HEADS);
    List<Integer> ranking = new ArrayList<>();
    double[] scores = new double[own];
    for (int block = 0; block < own; block++) {
      ranking.add(block);
      for (int c = 0; c < DIM; c++) {
        double sum = 0;
        for (int j = 0; j < BLOCK; j++) {
          sum += k[((start + block * BLOCK + j) * KV_HEADS + kvHead) * DIM + c];
        }
        scores[block] += q[(t * HEADS + h) * DIM + c] * (float) (sum / BLOCK);
      }
    }
    ranking.sort((x, y) -> Double.compare(scores[y], scores[x]));
    int[] expected = new int[TOP - 1];
    Arrays.fill(expected, -1);
    int[] best = ranking.stream().limit(TOP - 1).mapToInt(Integer::intValue).sorted().toArray();
    System.arraycopy(best, 0, expected, 0, best.length);
    int from = (t * HEADS + h) * (TOP - 1);
    assertArrayEquals(
        expected,
        Arrays.copyOfRange(selection, from, from + TOP - 1),
        "token " + t + ", head " + h);
    boolean[] mask = new boolean[TOKENS];
    for (int j = start; j <= t; j++) {
      int block = (j - start) / BLOCK;
      mask[j] = block == own || Arrays.stream(best).anyMatch(x -> x == block);
    }
    return mask;
  }

  private static double attend(
      double[] q, double[] k, double[] v, boolean[] mask, int t, int h, double[] out) {
    int kvHead = h / (HEADS / KV_HEADS);
    double[] s = new double[TOKENS];
    double sum = 0;
    for (int j = 0; j < TOKENS; j++) {
      for (int c = 0; c < DIM; c++) {
        s[j] += q[(t * HEADS + h) * DIM + c] * k[(j * KV_HEADS + kvHead) * DIM + c];
      }
      s[j] /= Math.sqrt(DIM);
      sum += mask[j] ? Math.exp(s[j]) : 0;
    }
    for (int j = 0; j < TOKENS; j++) {
      for (int c = 0; mask[j] && c < VALUE_DIM; c++) {
        out[c] += Math.exp(s[j]) / sum * v[(j * KV_HEADS + kvHead) * VALUE_DIM + c];
      }
    }
    return Math.log(sum);
  }

  private static double[] wide(float[] values) {
    double[] wide = new double[values.length];
    for (int i = 0; i < wide.length; i++) {
      wide[i] = values[i];
    }
    return wide;
  }

  @ParameterizedTest
  @MethodSource("providers")
  void gradientsAreFiniteDifferencesUnderTheGivenSelection(KernelProvider provider) {
    Problem problem = new Problem(device(provider));
    problem.forward();
    float[][] gradients = problem.backward();
    double[][] inputs = {wide(problem.q), wide(problem.k), wide(problem.v)};
    boolean[][] masks = new boolean[TOKENS * HEADS][];
    int[] selection = problem.selection.download().toInts();
    for (int b = 0; b + 1 < STARTS.length; b++) {
      for (int t = STARTS[b]; t < STARTS[b + 1]; t++) {
        for (int h = 0; h < HEADS; h++) {
          masks[t * HEADS + h] = mask(inputs[0], inputs[1], STARTS[b], t, h, selection);
        }
      }
    }
    int used = STARTS[STARTS.length - 1];
    double step = 1e-5;
    for (int input = 0; input < 3; input++) {
      double[] values = inputs[input];
      int rowLength = values.length / TOKENS;
      for (int i = 0; i < used * rowLength; i += 7) {
        double at = values[i];
        values[i] = at + step;
        double above = loss(inputs, masks, problem.dout);
        values[i] = at - step;
        double below = loss(inputs, masks, problem.dout);
        values[i] = at;
        assertEquals(
            (above - below) / (2 * step),
            gradients[input][i],
            2e-5,
            "gradient " + input + ", element " + i);
      }
      for (int i = used * rowLength; i < values.length; i++) {
        assertEquals(Float.NaN, gradients[input][i], "padding is left alone");
      }
    }
  }

  private static double loss(double[][] inputs, boolean[][] masks, float[] dout) {
    double loss = 0;
    for (int row = 0; row < masks.length; row++) {
      if (masks[row] != null) {
        double[] out = new double[VALUE_DIM];
        attend(inputs[0], inputs[1], inputs[2], masks[row], row / HEADS, row % HEADS, out);
        for (int c = 0; c < VALUE_DIM; c++) {
          loss += out[c] * dout[row * VALUE_DIM + c];
        }
      }
    }
    return loss;
  }

  @Test
  void gradientsAreTheSameWithAndWithoutRoomForTheirParts() {
    Device device = device(new CpuProvider());
    List<float[][]> results = new ArrayList<>();
    // Room for the parts of both kv heads, of one, of none; and not even for all readers at once.
    for (long limit : new long[] {Long.MAX_VALUE, 10_000, 5_000, 1}) {
      Problem problem = new Problem(device, spec().workspaceLimit(limit).build());
      problem.forward();
      results.add(problem.backward());
    }
    for (float[][] result : results.subList(1, results.size())) {
      assertArrayEquals(results.getFirst()[0], result[0], 1e-5f);
      assertArrayEquals(results.getFirst()[1], result[1]);
      assertArrayEquals(results.getFirst()[2], result[2]);
    }
    assertArrayEquals(results.getFirst()[0], results.get(1)[0]);
  }

  @Test
  void gradientsOfBlocksThatTakeSeveralSpansAreTheSameWithAndWithoutParts() {
    int tokens = 2500;
    Device device = device(new CpuProvider());
    List<float[][]> results = new ArrayList<>();
    for (long limit : new long[] {Long.MAX_VALUE, 1}) {
      MobaAttentionSpec spec =
          MobaAttentionSpec.builder()
              .dataType(DataType.F32)
              .heads(1)
              .headDim(4)
              .blockSize(1024)
              .topK(2)
              .workspaceLimit(limit)
              .modes(Mode.FORWARD, Mode.BACKWARD)
              .build();
      MobaAttention moba = keep(device.prepare(spec));
      Tensor q = floats(device, random(5, tokens * 4), tokens, 1, 4);
      Tensor k = floats(device, random(6, tokens * 4), tokens, 1, 4);
      Tensor cu = ints(device, 0, tokens);
      Tensor out = empty(device, DataType.F32, tokens, 1, 4);
      Tensor lse = empty(device, DataType.F32, tokens, 1);
      Tensor selection = empty(device, DataType.I32, tokens, 1, 1);
      Tensor[] gradients = new Tensor[3];
      Arrays.setAll(gradients, i -> empty(device, DataType.F32, tokens, 1, 4));
      Stream stream = device.defaultStream();
      moba.forward(stream, MobaForward.of(q, k, k, cu, out).lse(lse).selection(selection));
      moba.backward(
          stream,
          MobaBackward.of(q, k, k, cu, out, lse, q)
              .selection(selection)
              .dq(gradients[0])
              .dk(gradients[1])
              .dv(gradients[2]));
      float[][] result = new float[3][];
      Arrays.setAll(result, i -> gradients[i].download().toFloats());
      results.add(result);
    }
    assertArrayEquals(results.get(0)[0], results.get(1)[0], 1e-5f);
    assertArrayEquals(results.get(0)[1], results.get(1)[1]);
    assertArrayEquals(results.get(0)[2], results.get(1)[2]);
  }

  @Test
  void theNumberOfThreadsChangesNoBit() {
    List<float[]> results = new ArrayList<>();
    for (int threads : new int[] {1, 2, 5}) {
      DeviceOptions options = DeviceOptions.builder().threads(threads).build();
      Problem problem = new Problem(keep(Weft.open(new CpuProvider(), "0", options)));
      problem.forward();
      results.add(problem.out.download().toFloats());
      results.addAll(List.of(problem.backward()));
    }
    for (int i = 4; i < results.size(); i++) {
      assertArrayEquals(results.get(i % 4), results.get(i), "result " + i % 4);
    }
  }

  @ParameterizedTest
  @MethodSource("providers")
  void tiesGoToTheLowerBlockAndNanComesLast(KernelProvider provider) {
    float nan = Float.NaN;
    assertArrayEquals(new int[] {0, 2}, selected(provider, 5, nan, 5, 5, 1, 0));
    assertArrayEquals(new int[] {0, 3}, selected(provider, 2, nan, 1, 5, 1, 0));
    assertArrayEquals(new int[] {0, 4}, selected(provider, nan, nan, nan, nan, 7, 0));
    assertArrayEquals(new int[] {0, 1}, selected(provider, nan, nan, nan, nan, nan, 0));
    assertArrayEquals(
        new int[] {0, 1}, selected(provider, Float.NEGATIVE_INFINITY, nan, nan, nan, nan, 0));
  }

  /** The two past blocks that the last token of blocks of one key chooses with q = 1. */
  private int[] selected(KernelProvider provider, float... keys) {
    Device device = device(provider);
    int n = keys.length;
    MobaAttention moba =
        keep(
            device.prepare(
                MobaAttentionSpec.builder()
                    .dataType(DataType.F32)
                    .heads(1)
                    .headDim(1)
                    .blockSize(1)
                    .topK(3)
                    .build()));
    float[] ones = new float[n];
    Arrays.fill(ones, 1);
    Tensor selection = empty(device, DataType.I32, n, 1, 2);
    moba.forward(
        device.defaultStream(),
        MobaForward.of(
                floats(device, ones, n, 1, 1),
                floats(device, keys, n, 1, 1),
                floats(device, ones, n, 1, 1),
                ints(device, 0, n),
                empty(device, DataType.F32, n, 1, 1))
            .selection(selection));
    return Arrays.copyOfRange(selection.download().toInts(), 2 * n - 2, 2 * n);
  }

  /** A cache of one sequence of ten tokens with keys 1 to 10, values 1, one head, D = 1. */
  private final class Cache {
    final Device device;
    final MobaAttention moba;
    final Tensor keys;
    final Tensor values;
    final Tensor means;

    Cache(KernelProvider provider, int pageSize, int pages) {
      device = device(provider);
      MobaAttentionSpec spec =
          MobaAttentionSpec.builder()
              .dataType(DataType.F32)
              .heads(1)
              .headDim(1)
              .blockSize(4)
              .topK(2)
              .pageSize(pageSize)
              .modes(Mode.PAGED)
              .build();
      moba = keep(device.prepare(spec));
      keys = empty(device, DataType.F32, pages, pageSize, 1, 1);
      values = empty(device, DataType.F32, pages, pageSize, 1, 1);
      means = empty(device, DataType.F32, pages, spec.meansPerPage(), 1, 1);
    }

    void append(int cached, Tensor pageTable, float... newKeys) {
      int n = newKeys.length;
      float[] ones = new float[n];
      Arrays.fill(ones, 1);
      moba.append(
          device.defaultStream(),
          MobaAppend.of(
              floats(device, newKeys, n, 1, 1),
              floats(device, ones, n, 1, 1),
              ints(device, 0, n),
              ints(device, cached),
              pageTable,
              keys,
              values,
              means));
    }
  }

  private Tensor table(Device device, int... pages) {
    return keep(device.upload(HostTensor.ofInts(pages, 1, pages.length)));
  }

  @ParameterizedTest
  @MethodSource("providers")
  void aMeanLiesWithThePageOfItsBlocksLastToken(KernelProvider provider) {
    Cache small = new Cache(provider, 2, 6);
    Tensor table = table(small.device, 5, 3, 1, 0, 4);
    small.append(3, table, 1, 2, 3);
    small.append(10, table, 4, 5, 6, 7, 8, 9, 10);
    float nan = Float.NaN;
    assertArrayEquals(
        new float[] {6.5f, nan, nan, 2.5f, nan, nan}, small.means.download().toFloats());
    assertArrayEquals(
        new float[] {7, 8, 5, 6, nan, nan, 3, 4, 9, 10, 1, 2}, small.keys.download().toFloats());

    Cache large = new Cache(provider, 8, 3);
    large.append(10, table(large.device, 2, 0), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
    assertArrayEquals(
        new float[] {nan, nan, nan, nan, 2.5f, 6.5f}, large.means.download().toFloats());
  }

  @ParameterizedTest
  @MethodSource("providers")
  void pagesAndLengthsOutOfRangeAreSkipped(KernelProvider provider) {
    Cache cache = new Cache(provider, 2, 3);
    cache.append(4, table(cache.device, 1, 2), 1, 2, 3, 4);
    float[] before = cache.keys.download().toFloats();
    cache.append(6, table(cache.device, 1, 2, 3), 5, 6);
    cache.append(6, table(cache.device, 1, 2, -1), 5, 6);
    cache.append(99, table(cache.device, 1, 2), 5, 6);
    cache.append(1, table(cache.device, 1, 2), 5, 6);
    cache.append(-5, table(cache.device, 1, 2), 5, 6);
    assertArrayEquals(before, cache.keys.download().toFloats());

    // The second page of the first block is out of range, so that its first two keys are left.
    assertArrayEquals(
        new double[] {1, Math.log(2), 0}, attend(cache, 5, 1, 99, 99), 1e-6, "first page");
    assertArrayEquals(
        new double[] {0, Double.NEGATIVE_INFINITY, -1}, attend(cache, 5, -1, -1, -1), "no page");
    assertArrayEquals(
        new double[] {0, Double.NEGATIVE_INFINITY, -1}, attend(cache, 77, 1, 2, 0), "no length");
  }

  /** Returns out, lse and selection of one token with q = 0. */
  private double[] attend(Cache cache, int cached, int... pages) {
    Device device = cache.device;
    Tensor out = empty(device, DataType.F32, 1, 1, 1);
    Tensor lse = empty(device, DataType.F32, 1, 1);
    Tensor selection = empty(device, DataType.I32, 1, 1, 1);
    Stream stream = device.defaultStream();
    cache.moba.paged(
        stream,
        MobaPaged.of(
                floats(device, new float[1], 1, 1, 1),
                ints(device, 0, 1),
                ints(device, cached),
                table(device, pages),
                cache.keys,
                cache.values,
                cache.means,
                out)
            .lse(lse)
            .selection(selection));
    return new double[] {out.download().get(0), lse.download().get(0), selection.download().get(0)};
  }
}
