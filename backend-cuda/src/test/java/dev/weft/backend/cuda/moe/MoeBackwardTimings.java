package dev.weft.backend.cuda.moe;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.Event;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.backend.cuda.CudaProvider;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeBinding;
import dev.weft.moe.MoeDispatch;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeDispatchSpec.Mode;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec;
import java.util.Arrays;
import java.util.Locale;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/**
 * Times the backward pass of a mixture of experts on shapes of models, BF16, F32 gradients. A
 * program, not a test; see docs/cuda.md. Device time: median of launches between two events each.
 * Each row says which gradients were asked for; TFLOP/s count the products that these need.
 */
public final class MoeBackwardTimings implements AutoCloseable {
  private static final int REPEATS = 7;

  private final Device device;
  private final Stream stream;
  private final SplittableRandom random = new SplittableRandom(1);
  private final Tensor drawn;

  private record Model(String name, int hidden, int width, int experts, int topK) {}

  private static final Model[] MODELS = {
    new Model("Qwen3-30B-A3B", 2048, 768, 128, 8),
    new Model("Mixtral-8x7B", 4096, 14336, 8, 2),
    new Model("DeepSeek-V3", 7168, 2048, 256, 8)
  };

  private MoeBackwardTimings(String image) {
    device =
        Weft.open(new CudaProvider(), "", DeviceOptions.builder().property("image", image).build());
    stream = device.newStream();
    HostTensor host = HostTensor.allocate(DataType.BF16, 1 << 20);
    for (int i = 0; i < host.elements(); i++) {
      host.set(i, (random.nextDouble() * 2 - 1) / 8);
    }
    drawn = device.upload(host);
  }

  /**
   * Prints a table of the rows that contain the first argument; the second is an image, or auto.
   */
  public static void main(String[] args) {
    String only = args.length > 0 ? args[0] : "";
    String image = args.length > 1 ? args[1] : "auto";
    System.out.println("model, tokens, gradients                          |       ms | TFLOP/s");
    for (Model model : MODELS) {
      for (int tokens : new int[] {512, 2048, 8192}) {
        if ((model.name + " " + tokens).contains(only)) {
          try (MoeBackwardTimings t = new MoeBackwardTimings(image)) {
            t.time(model, tokens);
          }
        }
      }
    }
  }

  private Tensor tensor(DataType type, long... shape) {
    return device.allocate(type, shape);
  }

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

  private Tensor ints(int[] values, long... shape) {
    return device.upload(HostTensor.ofInts(values, shape));
  }

  /** Distinct experts for each token, evenly drawn. */
  private int[] ids(Model m, int tokens) {
    int[] ids = new int[tokens * m.topK];
    int[] deck = new int[m.experts];
    for (int e = 0; e < m.experts; e++) {
      deck[e] = e;
    }
    for (int t = 0; t < tokens; t++) {
      for (int k = 0; k < m.topK; k++) {
        int at = k + random.nextInt(m.experts - k);
        int id = deck[at];
        deck[at] = deck[k];
        deck[k] = id;
        ids[t * m.topK + k] = id;
      }
    }
    return ids;
  }

  private static int[] permutation(Model m, int[] ids) {
    int[] starts = new int[m.experts + 1];
    for (int id : ids) {
      starts[id + 1]++;
    }
    for (int e = 0; e < m.experts; e++) {
      starts[e + 1] += starts[e];
    }
    int[] permutation = new int[ids.length];
    for (int slot = 0; slot < ids.length; slot++) {
      permutation[starts[ids[slot]]++] = slot;
    }
    return permutation;
  }

  private void time(Model m, int tokens) {
    MoeDispatchSpec spec =
        MoeDispatchSpec.builder()
            .hidden(m.hidden)
            .intermediate(m.width)
            .experts(m.experts)
            .topK(m.topK)
            .router(RouterSpec.builder().source(RouterSpec.Source.GIVEN).build())
            .modes(Mode.FORWARD, Mode.BACKWARD)
            .build();
    MoeDispatch moe = device.prepare(spec);
    MoeBinding weights =
        moe.bind(
            MoeWeights.of(noise(m.experts, m.hidden, m.width))
                .gateUp(noise(m.experts, 2L * m.width, m.hidden)));
    int slots = tokens * m.topK;
    int[] ids = ids(m, tokens);
    float[] routing = new float[slots];
    Arrays.fill(routing, 1f / m.topK);
    MoeSaved saved =
        MoeSaved.of(
            ints(ids, tokens, m.topK),
            device.upload(HostTensor.ofFloats(DataType.F32, routing, tokens, m.topK)),
            ints(permutation(m, ids), slots));
    Tensor x = noise(tokens, m.hidden);
    Tensor dy = noise(tokens, m.hidden);
    Tensor dx = tensor(DataType.BF16, tokens, m.hidden);
    Tensor ddown = tensor(DataType.F32, m.experts, m.hidden, m.width);
    Tensor dgateUp = tensor(DataType.F32, m.experts, 2L * m.width, m.hidden);
    Tensor dweights = tensor(DataType.F32, tokens, m.topK);
    Tensor z = noise(slots, 2L * m.width);
    stream.synchronize();
    MoeBackward base = MoeBackward.of(weights, x, dy, saved.z(z));
    row(moe, m, tokens, "dx", 6, base.dx(dx));
    row(moe, m, tokens, "ddown", 4, base.ddown(ddown));
    row(moe, m, tokens, "dgateUp", 6, base.dgateUp(dgateUp));
    row(
        moe,
        m,
        tokens,
        "all",
        12,
        base.dx(dx).ddown(ddown).dgateUp(dgateUp).dgivenWeights(dweights));
    row(
        moe,
        m,
        tokens,
        "all, z recomputed",
        16,
        MoeBackward.of(weights, x, dy, saved.z((@Nullable Tensor) null))
            .dx(dx)
            .ddown(ddown)
            .dgateUp(dgateUp)
            .dgivenWeights(dweights));
  }

  /** Products of H x I each that a slot needs, times two, give its FLOP. */
  private void row(MoeDispatch moe, Model m, int tokens, String what, int products, MoeBackward a) {
    moe.backward(stream, a);
    stream.synchronize();
    double[] millis = new double[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
      Event start = stream.record();
      moe.backward(stream, a);
      Event end = stream.record();
      stream.synchronize();
      millis[i] = end.nanosSince(start) / 1e6;
      start.close();
      end.close();
    }
    Arrays.sort(millis);
    double median = millis[REPEATS / 2];
    double flop = (double) products * tokens * m.topK * m.hidden * m.width;
    System.out.println(
        String.format(
            Locale.ROOT,
            "%-49s | %8.3f | %7.0f",
            m.name + ", " + tokens + ", " + what,
            median,
            flop / median / 1e9));
  }

  @Override
  public void close() {
    device.close(); // and all that is open on it
  }
}
