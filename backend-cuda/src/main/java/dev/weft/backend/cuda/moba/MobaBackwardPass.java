package dev.weft.backend.cuda.moba;

import dev.weft.Limits;
import dev.weft.Tensor;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaMemory;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.gpu.TensorLayout;
import dev.weft.gpu.moba.MobaListLayout;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.LaunchContext;
import java.util.EnumMap;
import java.util.Map;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * The backward pass: row statistics, tables, then for each group of key-value heads lists, the
 * gradients of keys and values, and for each group within it those of queries. Every gradient is
 * summed in one order, so there is one form for both wishes of {@code repeatableBackward}. The
 * kernels: src/main/cuda/moba/backward.cuh.
 */
final class MobaBackwardPass {
  private static final int STATS_THREADS = 256;
  private static final int STATS_LANES = 8;
  private static final int MERGE_THREADS = 256;
  private static final int MERGE_LANES = 16;
  private static final float LOG2_E = 1.442695f;

  /** Bytes of a vector. */
  private static final int WIDE_READ = 16;

  private final MobaAttentionSpec spec;
  private final int multiprocessors;
  private final MobaLists lists;
  private final KernelFunction stats;
  private final Stages any;
  private final @Nullable Stages aligned;

  private record Stage(BackwardVariant variant, KernelFunction kernel) {
    void launch(CudaStream stream, long blocks) {
      stream.launch(
          kernel, LaunchShape.of(blocks, 1, variant.threads()).withShared(variant.sharedBytes()));
    }
  }

  /** Merge is where the own stage leaves its sums to another launch. */
  private record Stages(Stage keys, Stage list, Stage own, @Nullable KernelFunction merge) {
    static Stages any(CudaDevice device, MobaAttentionSpec spec) {
      Function<BackwardVariant.Stage, Stage> find =
          stage -> {
            BackwardVariant variant = BackwardVariant.of(stage, spec);
            return new Stage(variant, device.kernel(variant.kernel()));
          };
      return new Stages(
          find.apply(BackwardVariant.Stage.KEYS),
          find.apply(BackwardVariant.Stage.LIST),
          find.apply(BackwardVariant.Stage.OWN),
          null);
    }

    /** Those that need aligned inputs, where the device has them. */
    static @Nullable Stages aligned(CudaDevice device, MobaAttentionSpec spec) {
      Map<BackwardVariant.Stage, Stage> found = new EnumMap<>(BackwardVariant.Stage.class);
      for (BackwardVariant.Stage stage : BackwardVariant.Stage.values()) {
        BackwardVariant.aligned(stage, spec)
            .ifPresent(variant ->
                device
                    .findKernel(variant.kernel())
                    .ifPresent(kernel -> found.put(stage, new Stage(variant, kernel))));
      }
      Stage keys = found.get(BackwardVariant.Stage.KEYS);
      Stage list = found.get(BackwardVariant.Stage.LIST);
      Stage own = found.get(BackwardVariant.Stage.OWN);
      KernelFunction merge = device.findKernel(BackwardVariant.merge(spec.dataType())).orElse(null);
      return keys == null || list == null || own == null || merge == null
          ? null
          : new Stages(keys, list, own, merge);
    }
  }

  /** Finds every kernel that a backward pass of the spec may need. */
  MobaBackwardPass(CudaDevice device, MobaAttentionSpec spec, MobaLists lists) {
    this.spec = spec;
    this.lists = lists;
    multiprocessors = device.descriptor().computeUnits();
    stats = device.kernel(BackwardVariant.stats(spec.dataType()));
    any = Stages.any(device, spec);
    aligned = Stages.aligned(device, spec);
  }

  void run(LaunchContext context, MobaBackward a) {
    boolean wantsQueries = a.dq() != null;
    boolean wantsKeys = a.dk() != null || a.dv() != null;
    int tokens = TensorLayout.tokens(a.q().size(0));
    int sequences = Math.toIntExact(a.cuSeqlens().size(0) - 1);
    BackendMemory memory = context.workspace();
    if (tokens == 0 || sequences == 0 || memory == null || !(wantsQueries || wantsKeys)) {
      return;
    }
    new Run(
            (CudaStream) context.stream(),
            a,
            MobaBackwardPlan.of(spec, Limits.of(a.q().size(0), sequences)),
            ((CudaMemory) memory).address() + context.workspaceOffset())
        .launch(wantsQueries, wantsKeys);
  }

  /** One launch. */
  private final class Run {
    private final CudaStream stream;
    private final MobaBackward a;
    private final MobaBackwardPlan plan;
    private final MobaListLayout layout;
    private final long scratch;
    private final MobaLists.Selection selection;
    private final Stages stages;

    Run(CudaStream stream, MobaBackward a, MobaBackwardPlan plan, long scratch) {
      this.stream = stream;
      this.a = a;
      this.plan = plan;
      this.scratch = scratch;
      layout = plan.lists();
      stages = aligned != null && hasAlignedInputs() ? aligned : any;
      Tensor given = a.selection();
      selection =
          given == null
              ? MobaLists.Selection.ALL
              : new MobaLists.Selection(
                  TensorArguments.address(given),
                  TensorLayout.stride(given, 0),
                  TensorLayout.stride(given, 1));
    }

    private boolean hasAlignedInputs() {
      return isWide(a.q()) && isWide(a.k()) && isWide(a.v()) && isWide(a.dout());
    }

    private long listScratch() {
      return scratch + plan.listsAt();
    }

    void launch(boolean wantsQueries, boolean wantsKeys) {
      lists.tables(stream, layout, listScratch(), TensorArguments.address(a.cuSeqlens()));
      statistics();
      for (int first = 0; first < spec.kvHeads(); first += layout.heads()) {
        int heads = Math.min(layout.heads(), spec.kvHeads() - first);
        lists.build(
            stream, layout, listScratch(), selection, first, heads, stages.list().variant().rows());
        if (wantsKeys) {
          int parts = parts(stages.keys(), 1);
          long work = (long) heads * layout.blocks() * parts;
          boolean takes = stages.keys().variant().isPersistent();
          if (takes) {
            stream.fill(scratch + plan.ticketAt(), (byte) 0, Integer.BYTES);
          }
          arguments(first, heads, first, heads, parts);
          stages.keys().launch(stream, takes ? Math.min(work, resident(stages.keys())) : work);
        }
        for (int from = first; wantsQueries && from < first + heads; from += plan.partialHeads()) {
          queries(first, heads, from, Math.min(plan.partialHeads(), first + heads - from));
        }
      }
    }

    private void statistics() {
      ParameterBlock block = stream.parameters();
      putMatrix(block, a.out());
      putMatrix(block, a.dout());
      block
          .put(TensorArguments.address(a.lse()))
          .put(listScratch() + layout.homesAt())
          .put(scratch)
          .put(TensorLayout.stride(a.lse(), 0))
          .put(layout.tokens())
          .put(spec.heads())
          .put(spec.valueDim())
          .put(isWide(a.out()) && isWide(a.dout()) ? 1 : 0);
      long rows = (long) layout.tokens() * spec.heads();
      int each = STATS_THREADS / STATS_LANES;
      stream.launch(stats, (rows + each - 1) / each, 1, STATS_THREADS);
    }

    private void queries(int listFirst, int listHeads, int first, int heads) {
      if (layout.slots() > 0) {
        arguments(listFirst, listHeads, first, heads, 1);
        long most =
            heads
                * (layout.entriesPerHead() / stages.list().variant().rows()
                    + Math.min(layout.blocks(), layout.entriesPerHead())
                    + 1);
        stages.list().launch(stream, Math.min(most, resident(stages.list())));
      }
      int parts = parts(stages.own(), layout.group());
      arguments(listFirst, listHeads, first, heads, parts);
      long tiles = (long) heads * layout.blocks() * parts;
      stages
          .own()
          .launch(
              stream,
              stages.own().variant().isPersistent()
                  ? Math.min(tiles, resident(stages.own()))
                  : tiles);
      KernelFunction merge = stages.merge();
      if (merge != null) {
        arguments(listFirst, listHeads, first, heads, 1);
        long rows = heads * layout.rows();
        int each = MERGE_THREADS / MERGE_LANES;
        stream.launch(merge, (rows + each - 1) / each, 1, MERGE_THREADS);
      }
    }

    private long resident(Stage stage) {
      return (long) multiprocessors * stage.variant().resident();
    }

    private int parts(Stage stage, int rowsPerToken) {
      long rows = Math.min(spec.blockSize(), layout.tokens()) * (long) rowsPerToken;
      return MobaBackwardPlan.parts(rows, stage.variant().rows());
    }

    /** The BackwardArguments structure. */
    private void arguments(int listFirst, int listHeads, int first, int heads, int parts) {
      ParameterBlock block =
          MobaLists.putInto(
              stream.parameters(),
              layout,
              listScratch(),
              listHeads,
              stages.list().variant().rows());
      selection.putInto(block);
      putMatrix(block, a.q());
      putMatrix(block, a.k());
      putMatrix(block, a.v());
      putMatrix(block, a.dout());
      putMatrix(block, a.dq());
      putMatrix(block, a.dk());
      putMatrix(block, a.dv());
      block
          .put(scratch)
          .put(scratch + plan.partialsAt())
          .put(scratch + plan.ownPartialsAt(spec, heads))
          .put(scratch + plan.ticketAt())
          .put(spec.scale())
          .put(spec.scale() * LOG2_E)
          .put(layout.tokens())
          .put(spec.heads())
          .put(first)
          .put(heads)
          .put(first - listFirst)
          .put(spec.headDim())
          .put(spec.valueDim())
          .put(MobaBackwardPlan.partialPitch(spec))
          .put(parts)
          .put(vectors());
    }

    /** Bits for q, k, v, dout (rows of 16 bytes) and dq, dk, dv (of pairs of elements). */
    private int vectors() {
      int pair = 2 * spec.dataType().bytes();
      boolean[] wide = {
        isWide(a.q()),
        isWide(a.k()),
        isWide(a.v()),
        isWide(a.dout()),
        aligned(a.dq(), pair),
        aligned(a.dk(), pair),
        aligned(a.dv(), pair)
      };
      int bits = 0;
      for (int i = 0; i < wide.length; i++) {
        bits |= wide[i] ? 1 << i : 0;
      }
      return bits;
    }
  }

  private static boolean aligned(@Nullable Tensor tensor, int bytes) {
    return TensorLayout.isAligned(tensor, bytes);
  }

  /** Whether rows can be read by 16 bytes, the last of them too. */
  private static boolean isWide(Tensor tensor) {
    long rowBytes = tensor.size(tensor.rank() - 1) * tensor.dataType().bytes();
    return rowBytes % WIDE_READ == 0 && aligned(tensor, WIDE_READ);
  }

  /** The Matrix structure. */
  private static void putMatrix(ParameterBlock block, @Nullable Tensor tensor) {
    block
        .put(TensorArguments.address(tensor))
        .put(tensor == null ? 0L : TensorLayout.stride(tensor, 0))
        .put(tensor == null ? 0L : TensorLayout.stride(tensor, 1));
  }
}
