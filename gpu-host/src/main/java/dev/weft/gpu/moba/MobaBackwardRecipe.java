package dev.weft.gpu.moba;

import dev.weft.Limits;
import dev.weft.Tensor;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.LaunchContext;
import java.util.List;

/**
 * The backward pass: tables and row statistics, then for each group of key-value heads lists, the
 * gradients of keys and values, and for each group within it those of queries. Every gradient is
 * summed in one order, so there is one form for both wishes of {@code repeatableBackward}. How:
 * moba/backward.cl.
 */
final class MobaBackwardRecipe {
  private static final int ROW_GROUP = 128;
  private static final int STATS_LANES = 16;
  private static final int COLUMNS = 4;

  private final MobaAttentionSpec spec;
  private final MobaListBuilder lists;
  private final MobaGradientKernels gradients;
  private final ComputeKernel stats;
  private final ComputeKernel merge;
  private final ComputeKernel seenQueries;
  private final ComputeKernel seenKeys;

  MobaBackwardRecipe(
      ComputeDevice device,
      MobaAttentionSpec spec,
      MobaGradientTiles tiles,
      MobaListBuilder lists) {
    this.spec = spec;
    this.lists = lists;
    gradients = MobaGradientKernels.of(device, spec, tiles);
    KernelName rows =
        KernelName.of("moba/merge", "moba_backward_stats")
            .with("TYPE", TensorLayout.typeCode(spec.dataType()));
    List<ComputeKernel> kernels =
        device.kernels(
            List.of(
                rows,
                rows.function("moba_backward_merge"),
                rows.function("moba_backward_seen_queries"),
                rows.function("moba_backward_seen_keys")));
    stats = kernels.get(0);
    merge = kernels.get(1);
    seenQueries = kernels.get(2);
    seenKeys = kernels.get(3);
  }

  MobaBackwardPlan plan(Limits limits) {
    return MobaBackwardPlan.of(spec, limits, gradients.rowsAtOnce());
  }

  void run(LaunchContext context, MobaBackward a) {
    BackendMemory memory = context.workspace();
    boolean wantsQueries = a.dq() != null;
    boolean wantsKeys = a.dk() != null || a.dv() != null;
    long sequences = a.cuSeqlens().size(0) - 1;
    if (a.q().size(0) == 0 || sequences == 0 || memory == null || !(wantsQueries || wantsKeys)) {
      return;
    }
    new Run(
            ComputeStream.of(context),
            a,
            plan(Limits.of(a.q().size(0), sequences)),
            new Region(memory, context.workspaceOffset()))
        .launch(wantsQueries, wantsKeys);
  }

  /** One launch. */
  private final class Run {
    private final ComputeStream stream;
    private final MobaBackward a;
    private final MobaBackwardPlan plan;
    private final MobaListLayout layout;
    private final Region scratch;
    private final Region listScratch;
    private final MobaListBuilder.Selection selection;
    private final int alignment;
    private final MobaGradientKernels.Kernels kernels;

    Run(ComputeStream stream, MobaBackward a, MobaBackwardPlan plan, Region scratch) {
      this.stream = stream;
      this.a = a;
      this.plan = plan;
      this.layout = plan.lists();
      this.scratch = scratch;
      listScratch = scratch.plus(plan.listsAt());
      Tensor given = a.selection();
      selection =
          given == null
              ? MobaListBuilder.Selection.ALL
              : new MobaListBuilder.Selection(
                  Region.of(given), TensorLayout.stride(given, 0), TensorLayout.stride(given, 1));
      alignment =
          MobaTensors.aligned(a.q(), MobaTensors.ALIGNED_Q)
              | MobaTensors.aligned(a.k(), MobaTensors.ALIGNED_K)
              | MobaTensors.aligned(a.v(), MobaTensors.ALIGNED_V)
              | MobaTensors.aligned(a.dout(), MobaTensors.ALIGNED_DOUT)
              | MobaTensors.aligned(a.dk(), MobaTensors.ALIGNED_DK)
              | MobaTensors.aligned(a.dv(), MobaTensors.ALIGNED_DV);
      kernels = gradients.of(alignment);
    }

    void launch(boolean wantsQueries, boolean wantsKeys) {
      lists.tables(
          stream,
          layout,
          listScratch,
          to -> MobaTensors.putPackedBatch(to, spec, a.cuSeqlens(), layout.tokens()));
      statistics();
      for (int first = 0; first < spec.kvHeads(); first += layout.heads()) {
        int heads = Math.min(layout.heads(), spec.kvHeads() - first);
        lists.build(
            stream,
            layout,
            listScratch,
            selection,
            first,
            heads,
            gradients.rowsAtOnce(),
            scratch.plus(plan.listOfTileAt()),
            plan.mostTiles(heads));
        if (wantsKeys) {
          keys(first, heads);
        }
        for (int from = first; wantsQueries && from < first + heads; from += plan.partHeads()) {
          queries(first, from, Math.min(plan.partHeads(), first + heads - from));
        }
      }
    }

    private void statistics() {
      Arguments to = stream.arguments();
      MobaTensors.putMatrix(to, a.out());
      MobaTensors.putMatrix(to, a.dout());
      MobaTensors.putMatrix(to, a.lse());
      to.region(listScratch.plus(layout.homesAt()))
          .region(scratch)
          .value(layout.tokens())
          .value(spec.heads())
          .value(spec.valueDim())
          .value(MobaTensors.aligned(a.out(), 1) & MobaTensors.aligned(a.dout(), 1));
      long items = (long) layout.tokens() * spec.heads() * STATS_LANES;
      stream.dispatch(stats, MobaListBuilder.groups(items, ROW_GROUP), 1, 1, ROW_GROUP);
    }

    /** The BACKWARD_PARAMETERS of backward.cl. */
    private Arguments arguments(int first) {
      Arguments to = stream.arguments();
      MobaTensors.putMatrix(to, a.q());
      MobaTensors.putMatrix(to, a.k());
      MobaTensors.putMatrix(to, a.v());
      MobaTensors.putMatrix(to, a.dout());
      return to.region(scratch)
          .region(listScratch.plus(layout.blocksAt()))
          .value(layout.tokens())
          .value(spec.heads())
          .value(layout.group())
          .value(layout.slots())
          .value(spec.headDim())
          .value(spec.valueDim())
          .value(first)
          .value(spec.scale())
          .value(spec.scale() * MobaForwardRecipe.LOG2_E)
          .value(alignment);
    }

    private Arguments putLists(Arguments to, int firstList) {
      return to.region(listScratch.plus(layout.offsetsAt()))
          .region(listScratch.plus(layout.entriesAt()))
          .value(layout.entriesPerHead())
          .value(layout.blocks())
          .value(firstList);
    }

    private Arguments putParts(Arguments to) {
      return to.region(scratch.plus(plan.partsAt())).value(MobaBackwardPlan.partPitch(spec));
    }

    /** Groups for one block, of so many keys or rows each. */
    private int shares(int rowsPerToken, int each) {
      long rows = Math.min(spec.blockSize(), layout.tokens()) * (long) rowsPerToken;
      return Math.toIntExact(MobaListBuilder.groups(rows, each));
    }

    private static long chunks(int columns) {
      return ((long) columns + COLUMNS - 1) / COLUMNS;
    }

    private void keys(int first, int heads) {
      Arguments to = putLists(arguments(first), 0);
      MobaTensors.putMatrix(to, a.dk());
      MobaTensors.putMatrix(to, a.dv());
      int shares = shares(1, gradients.keysAtOnce());
      to.value(shares);
      stream.dispatch(
          kernels.keys(), (long) heads * layout.blocks() * shares, 1, 1, gradients.groupSize());

      Arguments again = putLists(arguments(first), 0);
      MobaTensors.putMatrix(again, a.dk());
      MobaTensors.putMatrix(again, a.dv());
      again.region(listScratch.plus(layout.homesAt())).value(heads);
      long chunks =
          (a.dk() == null ? 0 : chunks(spec.headDim()))
              + (a.dv() == null ? 0 : chunks(spec.valueDim()));
      long items = (long) heads * layout.tokens() * chunks;
      stream.dispatch(seenKeys, MobaListBuilder.groups(items, ROW_GROUP), 1, 1, ROW_GROUP);
    }

    private void queries(int listFirst, int first, int heads) {
      if (layout.slots() > 0) {
        putParts(putLists(arguments(first), first - listFirst))
            .region(listScratch.plus(layout.tilesAt()))
            .region(scratch.plus(plan.listOfTileAt()))
            .value(heads);
        stream.dispatch(kernels.listed(), plan.mostTiles(heads), 1, 1, gradients.groupSize());
        stream.independent(); // parts of their own
      }
      int shares = shares(layout.group(), gradients.rowsAtOnce());
      putParts(arguments(first)).value(layout.blocks()).value(shares);
      stream.dispatch(
          kernels.own(), (long) heads * layout.blocks() * shares, 1, 1, gradients.groupSize());

      long items = heads * layout.rows() * chunks(spec.headDim());
      putParts(arguments(first)).region(listScratch.plus(layout.homesAt())).value(heads);
      stream.dispatch(seenQueries, MobaListBuilder.groups(items, ROW_GROUP), 1, 1, ROW_GROUP);

      Arguments to = selection.putInto(stream.arguments());
      putParts(to.region(listScratch.plus(layout.homesAt())));
      MobaTensors.putMatrix(to, a.dq());
      to.value(layout.tokens())
          .value(layout.group())
          .value(layout.slots())
          .value(spec.headDim())
          .value(first)
          .value(heads)
          .value(spec.scale());
      stream.dispatch(merge, MobaListBuilder.groups(items, ROW_GROUP), 1, 1, ROW_GROUP);
    }
  }
}
