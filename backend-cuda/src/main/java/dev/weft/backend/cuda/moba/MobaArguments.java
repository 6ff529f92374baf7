package dev.weft.backend.cuda.moba;

import dev.weft.Tensor;
import dev.weft.backend.cuda.device.LaunchArguments;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.gpu.TensorLayout;
import dev.weft.gpu.moba.MobaTensors;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;

/**
 * The argument structures of forward.cuh and cache.cuh.
 *
 * @param tensors of a forward, paged or append launch
 */
record MobaArguments(MobaTensors tensors) {
  private static final float LOG2_E = 1.442695f;

  static MobaArguments of(MobaAttentionSpec spec, MobaForward a) {
    return new MobaArguments(MobaTensors.of(spec, a));
  }

  static MobaArguments of(MobaAttentionSpec spec, MobaPaged a) {
    return new MobaArguments(MobaTensors.of(spec, a));
  }

  static MobaArguments of(MobaAttentionSpec spec, MobaAppend a) {
    return new MobaArguments(MobaTensors.of(spec, a));
  }

  private MobaAttentionSpec spec() {
    return tensors.spec();
  }

  long cuSeqlens() {
    return TensorArguments.address(tensors.cuSeqlens());
  }

  /** Columns of a selection that the caller wants, else 0. */
  int columns() {
    return tensors.selection() == null ? 0 : spec().topK() - 1;
  }

  /** Where the selection of a group of heads lies, as if it were that of all heads. */
  MobaLists.Selection selection(MobaForwardPlan plan, long scratch, int firstHead) {
    Tensor wanted = tensors.selection();
    if (wanted != null) {
      return new MobaLists.Selection(
          TensorArguments.address(wanted),
          TensorLayout.stride(wanted, 0),
          TensorLayout.stride(wanted, 1));
    }
    long slots = plan.lists().slots();
    if (plan.direct()) {
      return new MobaLists.Selection(scratch, spec().heads() * slots, slots);
    }
    long before = 4L * firstHead * tensors.group() * slots;
    return new MobaLists.Selection(
        scratch + plan.selectionAt() - before,
        (long) plan.lists().heads() * tensors.group() * slots,
        slots);
  }

  /** 1 if all rows of a tensor start at multiples of 16 bytes. */
  private static int aligned(Tensor tensor) {
    return MobaTensors.aligned(tensor, 1);
  }

  /** The Batch structure. */
  ParameterBlock putBatch(ParameterBlock block) {
    tensors.putBatch(new LaunchArguments(block));
    return block;
  }

  private static void putMatrix(ParameterBlock block, Tensor tensor) {
    MobaTensors.putMatrix(new LaunchArguments(block), tensor);
  }

  /** The Pages structure: of the cache, or of packed rows as one page. */
  private static void putPages(ParameterBlock block, Tensor tensor) {
    MobaTensors.putPages(new LaunchArguments(block), tensor);
  }

  private void putScratchMeans(ParameterBlock block, MobaForwardPlan plan, long scratch) {
    long row = plan.meanPitch();
    block.put(scratch).put(0L).put(row * spec().kvHeads()).put(row);
  }

  /** The MeansArguments structure. */
  void putMeans(ParameterBlock block, MobaForwardPlan plan, long scratch) {
    block.put(MobaLists.blocksAddress(plan.lists(), scratch + plan.listsAt()));
    putPages(block, tensors.k());
    putScratchMeans(block, plan, scratch);
    block
        .put(plan.lists().blocks())
        .put(spec().blockSize())
        .put(spec().headDim())
        .put(aligned(tensors.k()));
  }

  /** The AppendArguments structure. */
  void putAppend(ParameterBlock block) {
    putBatch(block);
    putMatrix(block, tensors.q());
    putMatrix(block, tensors.out());
    putPages(block, tensors.k());
    putPages(block, tensors.v());
    Tensor kept = tensors.means();
    if (kept == null) {
      throw new IllegalStateException("append keeps means");
    }
    putPages(block, kept);
    block
        .put(spec().dataType().bytes())
        .put(spec().kvHeads())
        .put(spec().headDim())
        .put(spec().valueDim())
        .put(aligned(tensors.q()) & aligned(tensors.k()))
        .put(aligned(tensors.out()) & aligned(tensors.v()));
  }

  /** The ForwardArguments structure. */
  void put(
      ParameterBlock block,
      MobaForwardPlan plan,
      long scratch,
      int firstHead,
      int heads,
      int tileRows) {
    putBatch(block);
    MobaLists.putInto(block, plan.lists(), scratch + plan.listsAt(), heads, tileRows);
    putMatrix(block, tensors.q());
    putMatrix(block, tensors.out());
    putPages(block, tensors.k());
    putPages(block, tensors.v());
    Tensor kept = tensors.means();
    if (kept == null) {
      putScratchMeans(block, plan, scratch);
    } else {
      putPages(block, kept);
    }
    selection(plan, scratch, firstHead).putInto(block);
    Tensor sums = tensors.lse();
    long partials = scratch + (plan.direct() ? plan.directPartialsAt() : plan.partialsAt());
    long partialLse = scratch + (plan.direct() ? plan.directPartialLseAt() : plan.partialLseAt());
    block
        .put(TensorArguments.address(sums))
        .put(sums == null ? 0L : TensorLayout.stride(sums, 0))
        .put(sums == null ? 0L : TensorLayout.stride(sums, 1))
        .put(partials)
        .put(partialLse)
        .put(partials) // the heap of the selection, which is done by then
        .put(spec().scale() * LOG2_E)
        .put(spec().headDim())
        .put(spec().valueDim())
        .put(plan.valuePitch())
        .put(tensors.selection() == null ? plan.lists().slots() : spec().topK() - 1)
        .put(firstHead)
        .put(heads)
        .put(tensors.alignment());
  }
}
