package dev.weft.backend.cuda.moba;

import dev.weft.Limits;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaMemory;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.gpu.moba.MobaListLayout;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.LaunchContext;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The forward pass over packed sequences or the paged cache. Two launches, then six for each group
 * of key-value heads that scratch has room for; three in all for few queries over the cache. See
 * src/main/cuda/moba/forward.cuh.
 */
final class MobaForwardPass {
  static final String PAGED_BLOCKS = "moba_paged_blocks";

  private static final int MEAN_THREADS = 256;
  private static final int DIRECT_THREADS = 256;
  private static final int MERGE_ROWS = 4;
  private static final int MERGE_LANES = 32;

  /** Thread blocks that a multiprocessor holds of the kernels that walk over lists. */
  private static final int RESIDENT = 2;

  private final MobaAttentionSpec spec;
  private final MobaLists lists;
  private final int multiprocessors;
  private final MobaTiles tiles;
  private final MobaTiles selectTiles;
  private final KernelFunction means;
  private final KernelFunction pagedBlocks;
  private final KernelFunction listed;
  private final KernelFunction own;
  private final @Nullable KernelFunction direct;
  private final @Nullable KernelFunction directMerge;
  private final Map<Integer, KernelFunction> select = new TreeMap<>();
  private final @Nullable MobaHopperForward hopper;

  /** Finds every kernel that a launch of the spec may need. */
  MobaForwardPass(CudaDevice device, MobaAttentionSpec spec, MobaLists lists) {
    this.spec = spec;
    this.lists = lists;
    multiprocessors = device.descriptor().computeUnits();
    tiles = MobaTiles.attention(spec);
    selectTiles = MobaTiles.selection(spec);
    means = device.kernel(means(spec));
    pagedBlocks = device.kernel(PAGED_BLOCKS);
    listed = device.kernel(tiles.listed());
    own = device.kernel(tiles.own());
    boolean paged = spec.modes().contains(Mode.PAGED);
    direct = paged ? device.kernel(tiles.direct()) : null;
    directMerge = paged ? device.kernel(tiles.directMerge()) : null;
    // A launch has no more slots than the spec allows, but may have fewer.
    for (int slots : new int[] {1, spec.topK() - 1}) {
      int most = MobaTiles.selectionKernel(slots);
      select.put(most, device.kernel(selectTiles.select(most)));
    }
    int between = MobaTiles.selectionKernel(Math.min(spec.topK() - 1, 32));
    select.put(between, device.kernel(selectTiles.select(between)));
    hopper = MobaHopperForward.of(device, spec).orElse(null);
  }

  static String means(MobaAttentionSpec spec) {
    return "moba_means_" + spec.dataType().text();
  }

  void run(LaunchContext context, MobaForward a) {
    launch(
        context,
        Mode.FORWARD,
        Limits.of(a.q().size(0), a.cuSeqlens().size(0) - 1),
        MobaArguments.of(spec, a));
  }

  void run(LaunchContext context, MobaPaged a) {
    launch(
        context,
        Mode.PAGED,
        new Limits(a.q().size(0), a.cuSeqlens().size(0) - 1, a.pageTable().size(1)),
        MobaArguments.of(spec, a));
  }

  private void launch(LaunchContext context, Mode mode, Limits limits, MobaArguments arguments) {
    BackendMemory memory = context.workspace();
    if (limits.tokens() == 0 || limits.sequences() == 0 || memory == null) {
      return;
    }
    MobaForwardPlan plan = MobaForwardPlan.of(spec, mode, limits);
    long scratch = ((CudaMemory) memory).address() + context.workspaceOffset();
    new Run((CudaStream) context.stream(), plan, scratch, arguments).launch();
  }

  /** One launch. */
  private final class Run {
    private final CudaStream stream;
    private final MobaForwardPlan plan;
    private final MobaListLayout layout;
    private final long scratch;
    private final MobaArguments arguments;
    private final @Nullable MobaHopperForward fast; // where this launch is one for it

    Run(CudaStream stream, MobaForwardPlan plan, long scratch, MobaArguments arguments) {
      this.stream = stream;
      this.plan = plan;
      this.layout = plan.lists();
      this.scratch = scratch;
      this.arguments = arguments;
      fast = hopper != null && hopper.takes(arguments, layout.slots()) ? hopper : null;
    }

    private long listScratch() {
      return scratch + plan.listsAt();
    }

    void launch() {
      boolean scored = layout.slots() > 0;
      if (plan.direct() && direct != null && directMerge != null) {
        direct(direct, directMerge);
        return;
      }
      if (scored) {
        tables();
      } else if (fast != null) {
        lists.tables(stream, layout, listScratch(), arguments.cuSeqlens());
      }
      for (int first = 0; first < spec.kvHeads(); first += layout.heads()) {
        int heads = Math.min(layout.heads(), spec.kvHeads() - first);
        if (scored || arguments.columns() > 0) {
          select(first, heads);
        }
        if (scored) {
          lists.build(
              stream,
              layout,
              listScratch(),
              arguments.selection(plan, scratch, first),
              first,
              heads,
              fast == null ? tiles.rows() : fast.tileRows());
          listed(first, heads);
        }
        own(first, heads);
      }
    }

    /** Few queries: a thread block for each row and block, then a warp for each row. */
    private void direct(KernelFunction parts, KernelFunction merge) {
      if (layout.slots() > 0 || arguments.columns() > 0) {
        select(0, spec.kvHeads());
      }
      arguments.put(stream.parameters(), plan, scratch, 0, spec.kvHeads(), tiles.rows());
      stream.launch(parts, layout.tokens() * (layout.slots() + 1L), spec.heads(), DIRECT_THREADS);
      arguments.put(stream.parameters(), plan, scratch, 0, spec.kvHeads(), tiles.rows());
      long rows = (long) layout.tokens() * spec.heads();
      stream.launch(merge, (rows + MERGE_ROWS - 1) / MERGE_ROWS, 1, MERGE_ROWS * MERGE_LANES);
    }

    private void listed(int first, int heads) {
      if (fast != null) {
        fast.past(stream, plan, scratch, arguments, first, heads);
        return;
      }
      arguments.put(stream.parameters(), plan, scratch, first, heads, tiles.rows());
      stream.launch(
          listed,
          LaunchShape.of((long) multiprocessors * RESIDENT, 1, MobaTiles.THREADS)
              .withShared(tiles.listedSharedBytes()));
    }

    private void tables() {
      if (arguments.tensors().isPaged()) {
        MobaLists.putTables(arguments.putBatch(stream.parameters()), layout, listScratch());
        stream.launch(pagedBlocks, MobaLists.tableBlocks(layout), 1, MobaLists.TABLE_THREADS);
        return;
      }
      lists.tables(stream, layout, listScratch(), arguments.cuSeqlens());
      arguments.putMeans(stream.parameters(), plan, scratch);
      stream.launch(means, layout.blocks(), spec.kvHeads(), MEAN_THREADS);
    }

    private long queryTiles(int rows) {
      return layout.rows() / rows + layout.sequences() + 1;
    }

    private void select(int first, int heads) {
      int most = MobaTiles.selectionKernel(layout.slots());
      KernelFunction kernel = select.get(most);
      if (kernel == null) {
        throw new IllegalStateException(layout.slots() + " slots for " + spec);
      }
      arguments.put(stream.parameters(), plan, scratch, first, heads, tiles.rows());
      stream.launch(
          kernel,
          LaunchShape.of(queryTiles(MobaTiles.SELECT_ROWS), heads, MobaTiles.THREADS)
              .withShared(selectTiles.selectSharedBytes(most)));
    }

    private void own(int first, int heads) {
      if (fast != null) {
        MobaLists.Selection selection = arguments.selection(plan, scratch, first);
        fast.own(stream, plan, scratch, arguments, selection, first, heads);
        return;
      }
      arguments.put(stream.parameters(), plan, scratch, first, heads, tiles.rows());
      stream.launch(
          own,
          LaunchShape.of(queryTiles(tiles.rows()), heads, MobaTiles.THREADS)
              .withShared(tiles.ownSharedBytes()));
    }
  }
}
