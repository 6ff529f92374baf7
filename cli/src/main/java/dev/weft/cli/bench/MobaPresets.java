package dev.weft.cli.bench;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.Limits;
import dev.weft.Tensor;
import dev.weft.moba.MobaAttention;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * MoBA shapes: tokens of the one sequence, heads, head size, block size, blocks per query; a name
 * with {@code /8} after the heads has 8 key-value heads.
 */
final class MobaPresets {
  private static final int PAGE = 64;

  private final int tokens;
  private final int heads;
  private final int kvHeads;
  private final int dim;
  private final int block;
  private final int topK;

  private MobaPresets(int tokens, int heads, int kvHeads, int dim, int block, int topK) {
    this.tokens = tokens;
    this.heads = heads;
    this.kvHeads = kvHeads;
    this.dim = dim;
    this.block = block;
    this.topK = topK;
  }

  static List<Preset> all() {
    List<Preset> presets = new ArrayList<>();
    MobaPresets small = new MobaPresets(1024, 4, 4, 64, 64, 4);
    presets.add(small.forward("small", true));
    presets.add(small.backward("small", true));
    presets.add(new MobaPresets(4096, 8, 2, 64, 128, 4).paged("small", true, 4));
    for (MobaPresets shape :
        List.of(
            same(4096, 4, 128, 256, 4),
            same(8192, 8, 128, 512, 3),
            same(32768, 1, 128, 512, 3),
            same(8192, 16, 128, 512, 3),
            same(32768, 16, 128, 512, 8),
            same(65536, 16, 128, 512, 8),
            same(131072, 16, 128, 512, 8),
            same(32768, 16, 128, 128, 8),
            same(131072, 16, 128, 128, 8),
            same(65536, 16, 64, 128, 8),
            new MobaPresets(65536, 32, 8, 128, 512, 8))) {
      presets.add(shape.forward(shape.name(), false));
      presets.add(shape.backward(shape.name(), false));
    }
    MobaPresets decode = new MobaPresets(131072, 32, 8, 128, 512, 8);
    presets.add(decode.paged("32x" + decode.name(), false, 32));
    return presets;
  }

  private static MobaPresets same(int tokens, int heads, int dim, int block, int topK) {
    return new MobaPresets(tokens, heads, heads, dim, block, topK);
  }

  private String name() {
    return tokens
        + ","
        + (heads == kvHeads ? heads : heads + "/" + kvHeads)
        + ","
        + dim
        + ","
        + block
        + ","
        + topK;
  }

  private Preset forward(String name, boolean small) {
    long elements = 2L * tokens * dim * (heads + kvHeads);
    return new Preset("moba/forward/" + name, small, elements, this::forward);
  }

  private Preset backward(String name, boolean small) {
    long elements = 4L * tokens * dim * (heads + kvHeads);
    return new Preset("moba/backward/" + name, small, elements, this::backward);
  }

  private Preset paged(String name, boolean small, int batch) {
    long elements = 2L * batch * tokens * kvHeads * dim;
    return new Preset(
        "moba/paged/" + name, small, elements, (device, type) -> paged(device, type, batch));
  }

  private MobaAttentionSpec.Builder spec(DataType type) {
    return MobaAttentionSpec.builder()
        .dataType(type)
        .heads(heads)
        .kvHeads(kvHeads)
        .headDim(dim)
        .blockSize(block)
        .topK(topK);
  }

  /** Keys that the query at a position attends to. */
  private long keys(long position) {
    return position % block + 1 + Math.min(topK - 1, position / block) * block;
  }

  private double keysOfAll() {
    double keys = 0;
    for (long t = 0; t < tokens; t++) {
      keys += keys(t);
    }
    return keys;
  }

  private Workload forward(Device device, DataType type) {
    Workload w = new Workload(device);
    MobaAttention moba = w.keep(device.prepare(spec(type).build()));
    MobaForward arguments = forwardArguments(w, type);
    long bytes = 2L * tokens * dim * (heads + kvHeads) * type.bytes();
    return w.measures(
            moba.spec().text(),
            4.0 * dim * heads * keysOfAll(),
            bytes,
            stream -> moba.forward(stream, arguments))
        .workspace(moba.workspaceBytes(Mode.FORWARD, Limits.of(tokens, 1)));
  }

  private MobaForward forwardArguments(Workload w, DataType type) {
    return MobaForward.of(
        w.random(type, tokens, heads, dim),
        w.random(type, tokens, kvHeads, dim),
        w.random(type, tokens, kvHeads, dim),
        w.ints(new int[] {0, tokens}, 2),
        w.zeros(type, tokens, heads, dim));
  }

  private Workload backward(Device device, DataType type) {
    Workload w = new Workload(device);
    MobaAttention moba =
        w.keep(device.prepare(spec(type).modes(Mode.FORWARD, Mode.BACKWARD).build()));
    Tensor lse = w.zeros(DataType.F32, tokens, heads);
    Tensor selection = w.zeros(DataType.I32, tokens, heads, topK - 1);
    MobaForward forward = forwardArguments(w, type).lse(lse).selection(selection);
    moba.forward(device.defaultStream(), forward);
    device.defaultStream().synchronize();
    MobaBackward arguments =
        MobaBackward.of(
                forward.q(),
                forward.k(),
                forward.v(),
                forward.cuSeqlens(),
                forward.out(),
                lse,
                w.random(type, tokens, heads, dim))
            .selection(selection)
            .dq(w.zeros(type, tokens, heads, dim))
            .dk(w.zeros(type, tokens, kvHeads, dim))
            .dv(w.zeros(type, tokens, kvHeads, dim));
    long bytes = 4L * tokens * dim * (heads + kvHeads) * type.bytes() + 4L * tokens * heads * topK;
    return w.measures(
            moba.spec().text(),
            10.0 * dim * heads * keysOfAll(),
            bytes,
            stream -> moba.backward(stream, arguments))
        .workspace(moba.workspaceBytes(Mode.BACKWARD, Limits.of(tokens, 1)));
  }

  /** One new token for each of several sequences, all of the same length. */
  private Workload paged(Device device, DataType type, int batch) {
    Workload w = new Workload(device);
    MobaAttention moba =
        w.keep(device.prepare(spec(type).pageSize(PAGE).modes(Mode.PAGED).build()));
    int pagesEach = tokens / PAGE;
    int[] starts = new int[batch + 1];
    int[] lengths = new int[batch];
    int[] table = new int[batch * pagesEach];
    for (int b = 0; b < batch; b++) {
      starts[b + 1] = b + 1;
      lengths[b] = tokens;
      for (int p = 0; p < pagesEach; p++) {
        table[b * pagesEach + p] = p * batch + b; // neighbours are apart, as after a while of use
      }
    }
    int pages = batch * pagesEach;
    Tensor selection = w.zeros(DataType.I32, batch, heads, topK - 1);
    MobaPaged arguments =
        MobaPaged.of(
                w.random(type, batch, heads, dim),
                w.ints(starts, batch + 1),
                w.ints(lengths, batch),
                w.ints(table, batch, pagesEach),
                w.random(type, pages, PAGE, kvHeads, dim),
                w.random(type, pages, PAGE, kvHeads, dim),
                w.random(type, pages, Math.max(1, PAGE / block), kvHeads, dim),
                w.zeros(type, batch, heads, dim))
            .selection(selection);
    moba.paged(device.defaultStream(), arguments);
    long blocks = distinctBlocks(selection.download().toInts(), batch);
    long means = (long) batch * (tokens / block) * kvHeads * dim;
    long own = (long) batch * kvHeads * ((tokens - 1) % block + 1);
    long elements = 2L * dim * (blocks * block + own) + means + 2L * batch * heads * dim;
    return w.measures(
            moba.spec().text(),
            batch * 4.0 * dim * heads * keys(tokens - 1),
            elements * type.bytes(),
            stream -> moba.paged(stream, arguments))
        .workspace(moba.workspaceBytes(Mode.PAGED, Limits.of(batch, batch)))
        .note("bytes: the union of the " + blocks + " past blocks that any head of a group chose");
  }

  private long distinctBlocks(int[] selection, int batch) {
    Set<Long> chosen = new HashSet<>();
    int group = heads / kvHeads;
    for (int b = 0; b < batch; b++) {
      for (int h = 0; h < heads; h++) {
        for (int slot = 0; slot < topK - 1; slot++) {
          int at = selection[(b * heads + h) * (topK - 1) + slot];
          if (at >= 0) {
            chosen.add(((long) b * kvHeads + h / group) * tokens + at);
          }
        }
      }
    }
    return chosen.size();
  }
}
