package dev.weft.cli.bench;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.Limits;
import dev.weft.Tensor;
import dev.weft.conv1d.CausalConv1d;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;

/** Convolution shapes: sequences x tokens of each, width 4, SiLU, states in and out. */
final class Conv1dPresets {
  private static final int WIDTH = 4;
  private static final int QWEN3_NEXT = 8192;
  private static final int MAMBA2 = 5376;
  private static final int MAMBA2_PITCH = 10576;

  private final int[] lengths;
  private final int channels;
  private final int pitch;

  private Conv1dPresets(int channels, int pitch, int... lengths) {
    this.lengths = lengths;
    this.channels = channels;
    this.pitch = pitch;
  }

  static List<Preset> all() {
    List<Preset> presets = new ArrayList<>();
    Conv1dPresets small = new Conv1dPresets(1024, 1024, 1024);
    presets.add(small.forward("small", true));
    presets.add(small.backward("small", true));
    presets.add(update("small", true, 32, 1024));
    for (int tokens : new int[] {128, 1024, 8192, 32768, 65536}) {
      presets.add(equal(1, tokens).forward("1x" + tokens, false));
    }
    presets.add(equal(16, 512).forward("16x512", false));
    presets.add(
        new Conv1dPresets(QWEN3_NEXT, QWEN3_NEXT, ragged(256, 16384))
            .forward("256-ragged-16384", false));
    int[] oneLong = new int[256];
    Arrays.fill(oneLong, 32);
    oneLong[0] = 8192;
    presets.add(new Conv1dPresets(QWEN3_NEXT, QWEN3_NEXT, oneLong).forward("8192+255x32", false));
    presets.add(equal(256, 1).forward("256x1", false));
    int[] mamba = new int[8];
    Arrays.fill(mamba, 1024);
    presets.add(new Conv1dPresets(MAMBA2, MAMBA2_PITCH, mamba).forward("mamba2-8x1024", false));
    for (int batch : new int[] {1, 128, 512}) {
      presets.add(update("B=" + batch, false, batch, QWEN3_NEXT));
    }
    presets.add(equal(1, 8192).backward("1x8192", false));
    presets.add(equal(16, 512).backward("16x512", false));
    presets.add(equal(1, 32768).backward("1x32768", false));
    return presets;
  }

  private static Conv1dPresets equal(int sequences, int tokens) {
    int[] lengths = new int[sequences];
    Arrays.fill(lengths, tokens);
    return new Conv1dPresets(QWEN3_NEXT, QWEN3_NEXT, lengths);
  }

  /** Random lengths of at least 1 with a given sum, the same in every run. */
  private static int[] ragged(int sequences, int sum) {
    SplittableRandom random = new SplittableRandom(256);
    int[] lengths = new int[sequences];
    Arrays.fill(lengths, 1);
    for (int left = sum - sequences; left > 0; ) {
      int more = 1 + random.nextInt(Math.min(left, 128));
      lengths[random.nextInt(sequences)] += more;
      left -= more;
    }
    return lengths;
  }

  private Preset forward(String name, boolean small) {
    return new Preset(
        "conv1d/forward/" + name, small, (long) tokens() * (pitch + channels), this::forward);
  }

  private Preset backward(String name, boolean small) {
    return new Preset("conv1d/backward/" + name, small, 3L * tokens() * channels, this::backward);
  }

  private static Preset update(String name, boolean small, int batch, int channels) {
    return new Preset(
        "conv1d/update/" + name,
        small,
        5L * batch * channels,
        (device, type) -> update(device, type, batch, channels));
  }

  private int tokens() {
    return Arrays.stream(lengths).sum();
  }

  private Tensor starts(Workload w) {
    int[] starts = new int[lengths.length + 1];
    for (int b = 0; b < lengths.length; b++) {
      starts[b + 1] = starts[b] + lengths[b];
    }
    return w.ints(starts, starts.length);
  }

  private static Tensor slots(Workload w, int batch) {
    int[] slots = new int[batch];
    Arrays.setAll(slots, b -> b);
    return w.ints(slots, batch);
  }

  private static CausalConv1dSpec.Builder spec(DataType type, int channels) {
    return CausalConv1dSpec.builder().dataType(type).channels(channels).width(WIDTH);
  }

  private static Conv1dBinding bind(Workload w, CausalConv1d conv, DataType type) {
    return w.keep(conv.bind(w.random(type, conv.spec().channels(), WIDTH), null));
  }

  private Workload forward(Device device, DataType type) {
    Workload w = new Workload(device);
    CausalConv1d conv = w.keep(device.prepare(spec(type, channels).build()));
    int batch = lengths.length;
    Conv1dForward arguments =
        Conv1dForward.of(
                bind(w, conv, type),
                w.random(type, tokens(), pitch).slice(1, 0, channels),
                starts(w),
                w.zeros(type, tokens(), channels))
            .states(w.random(type, batch, channels, WIDTH - 1))
            .cacheIndices(slots(w, batch))
            .hasInitialState(w.ones(DataType.U8, batch));
    long elements =
        2L * tokens() * channels + (long) WIDTH * channels + 2L * batch * channels * (WIDTH - 1);
    return w.measures(
            conv.spec().text(),
            2.0 * WIDTH * tokens() * channels,
            elements * type.bytes(),
            stream -> conv.forward(stream, arguments))
        .likeACopy()
        .workspace(conv.workspaceBytes(Mode.FORWARD, Limits.of(tokens(), batch)));
  }

  private Workload backward(Device device, DataType type) {
    Workload w = new Workload(device);
    CausalConv1d conv = w.keep(device.prepare(spec(type, channels).modes(Mode.BACKWARD).build()));
    Conv1dBackward arguments =
        Conv1dBackward.of(
                bind(w, conv, type),
                w.random(type, tokens(), channels),
                starts(w),
                w.random(type, tokens(), channels))
            .dx(w.zeros(type, tokens(), channels))
            .dweight(w.zeros(DataType.F32, channels, WIDTH));
    long bytes = (3L * tokens() + WIDTH) * channels * type.bytes() + 4L * WIDTH * channels;
    return w.measures(
            conv.spec().text(),
            6.0 * WIDTH * tokens() * channels,
            bytes,
            stream -> conv.backward(stream, arguments))
        .likeACopy()
        .workspace(conv.workspaceBytes(Mode.BACKWARD, Limits.of(tokens(), lengths.length)));
  }

  private static Workload update(Device device, DataType type, int batch, int channels) {
    Workload w = new Workload(device);
    CausalConv1d conv = w.keep(device.prepare(spec(type, channels).modes(Mode.UPDATE).build()));
    Conv1dUpdate arguments =
        Conv1dUpdate.of(
            bind(w, conv, type),
            w.random(type, batch, 1, channels),
            w.random(type, batch, channels, WIDTH - 1),
            slots(w, batch),
            w.zeros(type, batch, 1, channels));
    long elements = 2L * batch * channels * WIDTH + (long) WIDTH * channels;
    return w.measures(
            conv.spec().text(),
            2.0 * WIDTH * batch * channels,
            elements * type.bytes(),
            stream -> conv.update(stream, arguments))
        .likeACopy()
        .workspace(conv.workspaceBytes(Mode.UPDATE, Limits.of(batch, batch)));
  }
}
