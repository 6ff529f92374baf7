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
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.LaunchContext;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The forward pass over packed sequences or the paged cache. Tables and means, then for each group
 * of key-value heads that scratch has room for: selection, lists, attention to listed blocks and to
 * own blocks, and the sum of their parts. How: moba/attend.cl. Few queries of the cache have no
 * lists: moba/direct.cl.
 */
final class MobaForwardRecipe {
  static final float LOG2_E = 1.442695f;

  private static final int ROW_GROUP = 128;
  private static final int COLUMNS = 8;

  private final MobaAttentionSpec spec;
  private final MobaListBuilder lists;
  private final ComputeKernel means;
  private final ComputeKernel merge;
  private final Map<Mode, MobaAttentionKernels> attention = new EnumMap<>(Mode.class);
  private final MobaSelectionKernels selection;
  private final @Nullable MobaDirectKernel direct;

  MobaForwardRecipe(
      ComputeDevice device, MobaAttentionSpec spec, MobaTiles tiles, MobaListBuilder lists) {
    this.spec = spec;
    this.lists = lists;
    for (Mode mode : List.of(Mode.FORWARD, Mode.PAGED)) {
      if (spec.modes().contains(mode)) {
        attention.put(mode, MobaAttentionKernels.of(device, spec, tiles, mode == Mode.PAGED));
      }
    }
    List<KernelName> names = new ArrayList<>();
    names.add(means(spec));
    names.add(
        KernelName.of("moba/merge", "moba_merge")
            .with("TYPE", TensorLayout.typeCode(spec.dataType())));
    List<ComputeKernel> kernels = device.kernels(names);
    means = kernels.get(0);
    merge = kernels.get(1);
    selection = MobaSelectionKernels.of(device, spec, tiles);
    direct =
        spec.modes().contains(Mode.PAGED) ? MobaDirectKernel.of(device, spec).orElse(null) : null;
  }

  static KernelName means(MobaAttentionSpec spec) {
    return KernelName.of("moba/cache", "moba_means")
        .with("TYPE", TensorLayout.typeCode(spec.dataType()));
  }

  MobaForwardPlan plan(Mode mode, Limits limits) {
    return MobaForwardPlan.of(spec, mode, limits, attention(mode).rows());
  }

  private MobaAttentionKernels attention(Mode mode) {
    MobaAttentionKernels kernels = attention.get(mode);
    if (kernels == null) {
      throw new IllegalStateException("a launch of a mode that the spec lacks: " + mode);
    }
    return kernels;
  }

  void run(LaunchContext context, MobaForward a) {
    launch(
        context,
        Mode.FORWARD,
        Limits.of(a.q().size(0), a.cuSeqlens().size(0) - 1),
        MobaTensors.of(spec, a));
  }

  void run(LaunchContext context, MobaPaged a) {
    launch(
        context,
        Mode.PAGED,
        new Limits(a.q().size(0), a.cuSeqlens().size(0) - 1, a.pageTable().size(1)),
        MobaTensors.of(spec, a));
  }

  private void launch(LaunchContext context, Mode mode, Limits limits, MobaTensors tensors) {
    BackendMemory memory = context.workspace();
    if (limits.tokens() == 0 || limits.sequences() == 0 || memory == null) {
      return;
    }
    new Run(
            ComputeStream.of(context),
            attention(mode),
            plan(mode, limits),
            mode == Mode.PAGED && MobaDirectKernel.pays(limits) ? direct : null,
            new Region(memory, context.workspaceOffset()),
            tensors)
        .launch();
  }

  /** One launch. */
  private final class Run {
    private final ComputeStream stream;
    private final MobaAttentionKernels attention;
    private final MobaAttentionKernels.Kernels kernels;
    private final MobaForwardPlan plan;
    private final @Nullable MobaDirectKernel direct;
    private final MobaListLayout layout;
    private final Region scratch;
    private final Region listScratch;
    private final MobaTensors tensors;
    private final int alignment;

    Run(
        ComputeStream stream,
        MobaAttentionKernels attention,
        MobaForwardPlan plan,
        @Nullable MobaDirectKernel direct,
        Region scratch,
        MobaTensors tensors) {
      this.stream = stream;
      this.attention = attention;
      this.plan = plan;
      this.direct = direct;
      this.layout = plan.lists();
      this.scratch = scratch;
      this.listScratch = scratch.plus(plan.listsAt());
      this.tensors = tensors;
      alignment = tensors.alignment();
      kernels = attention.of(alignment);
    }

    void launch() {
      boolean scored = layout.slots() > 0;
      if (scored && direct == null) {
        lists.tables(stream, layout, listScratch, tensors::putBatch);
        means();
      }
      for (int first = 0; first < spec.kvHeads(); first += layout.heads()) {
        int heads = Math.min(layout.heads(), spec.kvHeads() - first);
        if (scored || columns() > 0) {
          select(first, heads);
        }
        if (direct != null) {
          direct(direct, first, heads);
          merge(first, heads);
          continue;
        }
        if (scored) {
          lists.build(
              stream,
              layout,
              listScratch,
              selection(),
              first,
              heads,
              attention.rows(),
              scratch.plus(plan.listOfTileAt()),
              plan.mostTiles(heads));
          listed(first, heads);
          stream.independent(); // parts of their own
        }
        own(first, heads);
        merge(first, heads);
      }
    }

    /** Columns of a selection that the caller wants, else 0. */
    private int columns() {
      return tensors.selection() == null ? 0 : spec.topK() - 1;
    }

    /** The caller's selection, or one in scratch memory. */
    private MobaListBuilder.Selection selection() {
      Tensor given = tensors.selection();
      if (given != null) {
        return new MobaListBuilder.Selection(
            Region.of(given), TensorLayout.stride(given, 0), TensorLayout.stride(given, 1));
      }
      long slots = layout.slots();
      return new MobaListBuilder.Selection(
          scratch.plus(plan.selectionAt()), spec.heads() * slots, slots);
    }

    private void means() {
      if (tensors.means() != null) {
        return;
      }
      Arguments to = stream.arguments().region(listScratch.plus(layout.blocksAt()));
      MobaTensors.putMatrix(to, tensors.k());
      to.region(scratch)
          .value((long) plan.meanPitch() * spec.kvHeads())
          .value((long) plan.meanPitch())
          .value(spec.blockSize())
          .value(spec.headDim())
          .value(MobaTensors.aligned(tensors.k(), 1));
      stream.dispatch(means, layout.blocks(), spec.kvHeads(), 1, ROW_GROUP);
    }

    private long queryTiles(int rows) {
      return layout.rows() / rows + layout.sequences() + 1;
    }

    private void select(int first, int heads) {
      Arguments to = stream.arguments();
      tensors.putBatch(to);
      MobaTensors.putMatrix(to, tensors.q());
      Tensor kept = tensors.means();
      if (kept == null) {
        to.region(scratch)
            .value(0L)
            .value((long) plan.meanPitch() * spec.kvHeads())
            .value((long) plan.meanPitch());
      } else {
        MobaTensors.putPages(to, kept);
      }
      to.value(spec.headDim()).value(first).value(layout.slots()).value(alignment);
      selection()
          .putInto(to)
          .value(selectionColumns())
          .region(scratch.plus(plan.partsAt())); // heaps, before there are parts
      ComputeKernel kernel = layout.slots() <= MobaTiles.FEW ? selection.few() : selection.any();
      stream.dispatch(kernel, queryTiles(selection.rows()), heads, 1, selection.groupSize());
    }

    private int selectionColumns() {
      return tensors.selection() == null ? layout.slots() : spec.topK() - 1;
    }

    /** The FORWARD_PARAMETERS of attend.cl. */
    private Arguments attendArguments(int first, int heads) {
      Arguments to = stream.arguments();
      tensors.putBatch(to);
      MobaTensors.putMatrix(to, tensors.q());
      MobaTensors.putPages(to, tensors.k());
      MobaTensors.putPages(to, tensors.v());
      return to.value(spec.headDim())
          .value(spec.valueDim())
          .value(first)
          .value(heads)
          .value(layout.slots())
          .value(spec.scale() * LOG2_E)
          .value(alignment)
          .region(scratch.plus(plan.partsAt()))
          .value(plan.valuePitch())
          .region(scratch.plus(plan.partSumsAt()));
    }

    /** Instead of lists, and of attention to listed and own blocks. */
    private void direct(MobaDirectKernel kernel, int first, int heads) {
      Arguments to = attendArguments(first, heads);
      selection().putInto(to).value(kernel.lanes());
      stream.dispatch(
          kernel.kernel(),
          layout.tokens() * (layout.slots() + 1L),
          (long) heads * layout.group(),
          1,
          MobaDirectKernel.GROUP);
    }

    private void listed(int first, int heads) {
      attendArguments(first, heads)
          .region(listScratch.plus(layout.blocksAt()))
          .region(listScratch.plus(layout.offsetsAt()))
          .region(listScratch.plus(layout.tilesAt()))
          .region(scratch.plus(plan.listOfTileAt()))
          .region(listScratch.plus(layout.entriesAt()))
          .value(layout.entriesPerHead())
          .value(layout.blocks());
      stream.dispatch(kernels.listed(), plan.mostTiles(heads), 1, 1, attention.groupSize());
    }

    private void own(int first, int heads) {
      attendArguments(first, heads);
      stream.dispatch(kernels.own(), queryTiles(attention.rows()), heads, 1, attention.groupSize());
    }

    private void merge(int first, int heads) {
      Arguments to = stream.arguments();
      tensors.putBatch(to);
      to.region(scratch.plus(plan.partsAt()))
          .value(plan.valuePitch())
          .region(scratch.plus(plan.partSumsAt()));
      boolean chosen = layout.slots() > 0 || columns() > 0;
      MobaListBuilder.Selection selection = chosen ? selection() : MobaListBuilder.Selection.ALL;
      selection.putInto(to).value(chosen ? selectionColumns() : 0);
      MobaTensors.putMatrix(to, tensors.out());
      MobaTensors.putMatrix(to, tensors.lse());
      to.value(spec.valueDim())
          .value(layout.slots())
          .value(first)
          .value(heads)
          .value(alignment & MobaTensors.ALIGNED_OUT);
      int chunks = (spec.valueDim() + COLUMNS - 1) / COLUMNS;
      long items = heads * layout.rows() * chunks;
      stream.dispatch(merge, MobaListBuilder.groups(items, ROW_GROUP), 1, 1, ROW_GROUP);
    }
  }
}
