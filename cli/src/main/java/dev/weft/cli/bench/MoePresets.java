package dev.weft.cli.bench;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.Limits;
import dev.weft.Tensor;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeBinding;
import dev.weft.moe.MoeDispatch;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeDispatchSpec.Mode;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;

/** Mixtures of experts of known models, SwiGLU, routing given: the experts alone are measured. */
final class MoePresets {
  private static final int[] TOKENS = {1, 8, 32, 128, 512, 2048, 8192};

  private final String name;
  private final int hidden;
  private final int intermediate;
  private final int experts;
  private final int topK;

  private MoePresets(String name, int hidden, int intermediate, int experts, int topK) {
    this.name = name;
    this.hidden = hidden;
    this.intermediate = intermediate;
    this.experts = experts;
    this.topK = topK;
  }

  static List<Preset> all() {
    List<Preset> presets = new ArrayList<>();
    MoePresets small = new MoePresets("small", 512, 256, 16, 2);
    presets.add(small.forward("small", true, 64));
    presets.add(small.backward("small", true, 64));
    for (MoePresets model :
        List.of(
            new MoePresets("Mixtral-8x7B", 4096, 14336, 8, 2),
            new MoePresets("Qwen3-30B-A3B", 2048, 768, 128, 8),
            new MoePresets("DeepSeek-V3", 7168, 2048, 256, 8))) {
      for (int tokens : TOKENS) {
        presets.add(model.forward(model.name + ",T=" + tokens, false, tokens));
      }
      presets.add(model.backward(model.name + ",T=512", false, 512));
    }
    return presets;
  }

  private Preset forward(String text, boolean small, int tokens) {
    return new Preset(
        "moe/forward/" + text,
        small,
        weights() + 2L * tokens * hidden,
        (device, type) -> forward(device, type, tokens));
  }

  private Preset backward(String text, boolean small, int tokens) {
    return new Preset(
        "moe/backward/" + text,
        small,
        3 * weights() + 4L * tokens * hidden,
        (device, type) -> backward(device, type, tokens));
  }

  private long weights() {
    return 3L * experts * hidden * intermediate;
  }

  private MoeDispatchSpec.Builder spec(DataType type) {
    return MoeDispatchSpec.builder()
        .dataType(type)
        .hidden(hidden)
        .intermediate(intermediate)
        .experts(experts)
        .topK(topK)
        .router(RouterSpec.builder().source(RouterSpec.Source.GIVEN).build());
  }

  private MoeBinding bind(Workload w, MoeDispatch moe, DataType type) {
    return w.keep(
        moe.bind(
            MoeWeights.of(w.random(type, experts, hidden, intermediate))
                .gateUp(w.random(type, experts, 2L * intermediate, hidden))));
  }

  /** Distinct experts for each token, all as likely, the same in every run. */
  private int[] ids(int tokens) {
    SplittableRandom random = new SplittableRandom(2026);
    int[] ids = new int[tokens * topK];
    for (int t = 0; t < tokens; t++) {
      for (int slot = 0; slot < topK; slot++) {
        int expert;
        do {
          expert = random.nextInt(experts);
        } while (contains(ids, t * topK, t * topK + slot, expert));
        ids[t * topK + slot] = expert;
      }
    }
    return ids;
  }

  private static boolean contains(int[] values, int from, int to, int value) {
    return Arrays.stream(values, from, to).anyMatch(v -> v == value);
  }

  private static long touched(int[] ids) {
    return Arrays.stream(ids).distinct().count();
  }

  private Tensor evenWeights(Workload w, int tokens) {
    Tensor ones = w.ones(DataType.F32, tokens * topK);
    return ones.reshape(tokens, topK);
  }

  private Workload forward(Device device, DataType type, int tokens) {
    Workload w = new Workload(device);
    MoeDispatch moe = w.keep(device.prepare(spec(type).build()));
    int[] ids = ids(tokens);
    MoeForward arguments = forwardArguments(w, bind(w, moe, type), type, tokens, ids);
    long expert = 3L * hidden * intermediate;
    return w.measures(
            moe.spec().text(),
            2.0 * tokens * topK * expert,
            (touched(ids) * expert + 2L * tokens * hidden) * type.bytes(),
            stream -> moe.forward(stream, arguments))
        .workspace(moe.workspaceBytes(Mode.FORWARD, Limits.of(tokens, 0)))
        .note("experts touched: " + touched(ids) + " of " + experts);
  }

  private MoeForward forwardArguments(
      Workload w, MoeBinding weights, DataType type, int tokens, int[] ids) {
    return MoeForward.of(weights, w.random(type, tokens, hidden), w.zeros(type, tokens, hidden))
        .givenIds(w.ints(ids, tokens, topK))
        .givenWeights(evenWeights(w, tokens));
  }

  private Workload backward(Device device, DataType type, int tokens) {
    Workload w = new Workload(device);
    MoeDispatch moe = w.keep(device.prepare(spec(type).modes(Mode.FORWARD, Mode.BACKWARD).build()));
    MoeBinding weights = bind(w, moe, type);
    int[] ids = ids(tokens);
    int slots = tokens * topK;
    MoeSaved saved =
        MoeSaved.of(
                w.zeros(DataType.I32, tokens, topK),
                w.zeros(DataType.F32, tokens, topK),
                w.zeros(DataType.I32, slots))
            .z(w.zeros(type, slots, 2L * intermediate));
    MoeForward forward = forwardArguments(w, weights, type, tokens, ids).saved(saved);
    moe.forward(device.defaultStream(), forward);
    device.defaultStream().synchronize();
    MoeBackward arguments =
        MoeBackward.of(weights, forward.x(), w.random(type, tokens, hidden), saved)
            .dx(w.zeros(type, tokens, hidden))
            .dgateUp(w.zeros(DataType.F32, experts, 2L * intermediate, hidden))
            .ddown(w.zeros(DataType.F32, experts, hidden, intermediate));
    long expert = 3L * hidden * intermediate;
    long read = touched(ids) * expert + 3L * tokens * hidden + 2L * slots * intermediate;
    return w.measures(
            moe.spec().text(),
            4.0 * tokens * topK * expert,
            read * type.bytes() + weights() * 4,
            stream -> moe.backward(stream, arguments))
        .workspace(moe.workspaceBytes(Mode.BACKWARD, Limits.of(tokens, 0)))
        .note("experts touched: " + touched(ids) + " of " + experts + "; z saved");
  }
}
