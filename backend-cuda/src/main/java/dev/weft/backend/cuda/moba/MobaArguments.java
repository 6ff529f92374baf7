package dev.weft.backend.cuda.moba;

import dev.weft.Tensor;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import org.jspecify.annotations.Nullable;

/**
 * The tensors of a forward, paged or append launch, and the argument structures of forward.cuh and
 * cache.cuh.
 *
 * @param q queries; in append the new keys
 * @param out outputs; in append the new values
 */
record MobaArguments(
    MobaAttentionSpec spec,
    Tensor q,
    Tensor out,
    Tensor k,
    Tensor v,
    @Nullable Tensor means,
    Tensor cuSeqlensTensor,
    @Nullable Tensor cacheLens,
    @Nullable Tensor pageTable,
    @Nullable Tensor lse,
    @Nullable Tensor selectionTensor) {
  private static final float LOG2_E = 1.442695f;
  private static final int WIDE = 16;

  // VectorBit of forward.cuh.
  private static final int VECTOR_Q = 1;
  private static final int VECTOR_K = 2;
  private static final int VECTOR_V = 4;
  private static final int VECTOR_MEANS = 8;
  private static final int VECTOR_OUT = 16;

  static MobaArguments of(MobaAttentionSpec spec, MobaForward a) {
    return new MobaArguments(
        spec,
        a.q(),
        a.out(),
        a.k(),
        a.v(),
        null,
        a.cuSeqlens(),
        null,
        null,
        a.lse(),
        a.selection());
  }

  static MobaArguments of(MobaAttentionSpec spec, MobaPaged a) {
    return new MobaArguments(
        spec,
        a.q(),
        a.out(),
        a.keyCache(),
        a.valueCache(),
        a.blockMeans(),
        a.cuSeqlens(),
        a.cacheLens(),
        a.pageTable(),
        a.lse(),
        a.selection());
  }

  static MobaArguments of(MobaAttentionSpec spec, MobaAppend a) {
    return new MobaArguments(
        spec,
        a.k(),
        a.v(),
        a.keyCache(),
        a.valueCache(),
        a.blockMeans(),
        a.cuSeqlens(),
        a.cacheLens(),
        a.pageTable(),
        null,
        null);
  }

  boolean isPaged() {
    return cacheLens != null;
  }

  long cuSeqlens() {
    return TensorArguments.address(cuSeqlensTensor);
  }

  int tokens() {
    return TensorArguments.tokens(q.size(0));
  }

  private int sequences() {
    return Math.toIntExact(cuSeqlensTensor.size(0) - 1);
  }

  private int group() {
    return spec.heads() / spec.kvHeads();
  }

  /** Columns of a selection that the caller wants, else 0. */
  int columns() {
    return selectionTensor == null ? 0 : spec.topK() - 1;
  }

  /** Where the selection of a group of heads lies, as if it were that of all heads. */
  MobaLists.Selection selection(MobaForwardPlan plan, long scratch, int firstHead) {
    if (selectionTensor != null) {
      return new MobaLists.Selection(
          TensorArguments.address(selectionTensor),
          TensorArguments.stride(selectionTensor, 0),
          TensorArguments.stride(selectionTensor, 1));
    }
    long slots = plan.lists().slots();
    if (plan.direct()) {
      return new MobaLists.Selection(scratch, spec.heads() * slots, slots);
    }
    long before = 4L * firstHead * group() * slots;
    return new MobaLists.Selection(
        scratch + plan.selectionAt() - before,
        (long) plan.lists().heads() * group() * slots,
        slots);
  }

  private static int bit(@Nullable Tensor tensor, int bit) {
    return TensorArguments.isAligned(tensor, WIDE) ? bit : 0; // scratch is aligned
  }

  /** The Batch structure. */
  ParameterBlock putBatch(ParameterBlock block) {
    Tensor table = pageTable;
    boolean paged = table != null;
    return block
        .put(cuSeqlens())
        .put(TensorArguments.address(cacheLens))
        .put(TensorArguments.address(table))
        .put(table == null ? 0L : TensorArguments.stride(table, 0))
        .put(tokens())
        .put(sequences())
        .put(group())
        .put(spec.blockSize())
        .put(paged ? spec.pageSize() : 1)
        .put(paged ? TensorArguments.tokens(k.size(0)) : 1)
        .put(table == null ? 0 : TensorArguments.tokens(table.size(1)))
        .put(table == null ? 0 : MobaForwardPlan.blocksPerSequence(spec, table.size(1)));
  }

  private static void putMatrix(ParameterBlock block, Tensor tensor) {
    block
        .put(TensorArguments.address(tensor))
        .put(TensorArguments.stride(tensor, 0))
        .put(TensorArguments.stride(tensor, 1));
  }

  /** The Pages structure: of the cache, or of packed rows as one page. */
  private static void putPages(ParameterBlock block, Tensor tensor) {
    block.put(TensorArguments.address(tensor));
    if (tensor.rank() == 4) {
      block.put(TensorArguments.stride(tensor, 0));
    } else {
      block.put(0L);
    }
    block
        .put(TensorArguments.stride(tensor, tensor.rank() - 3))
        .put(TensorArguments.stride(tensor, tensor.rank() - 2));
  }

  private void putScratchMeans(ParameterBlock block, MobaForwardPlan plan, long scratch) {
    long row = plan.meanPitch();
    block.put(scratch).put(0L).put(row * spec.kvHeads()).put(row);
  }

  /** The MeansArguments structure. */
  void putMeans(ParameterBlock block, MobaForwardPlan plan, long scratch) {
    block.put(MobaLists.blocksAddress(plan.lists(), scratch + plan.listsAt()));
    putPages(block, k);
    putScratchMeans(block, plan, scratch);
    block.put(plan.lists().blocks()).put(spec.blockSize()).put(spec.headDim()).put(bit(k, 1));
  }

  /** The AppendArguments structure. */
  void putAppend(ParameterBlock block) {
    putBatch(block);
    putMatrix(block, q);
    putMatrix(block, out);
    putPages(block, k);
    putPages(block, v);
    Tensor kept = means;
    if (kept == null) {
      throw new IllegalStateException("append keeps means");
    }
    putPages(block, kept);
    block
        .put(spec.dataType().bytes())
        .put(spec.kvHeads())
        .put(spec.headDim())
        .put(spec.valueDim())
        .put(bit(q, 1) & bit(k, 1))
        .put(bit(out, 1) & bit(v, 1));
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
    putMatrix(block, q);
    putMatrix(block, out);
    putPages(block, k);
    putPages(block, v);
    Tensor kept = means;
    if (kept == null) {
      putScratchMeans(block, plan, scratch);
    } else {
      putPages(block, kept);
    }
    selection(plan, scratch, firstHead).putInto(block);
    Tensor sums = lse;
    long partials = scratch + (plan.direct() ? plan.directPartialsAt() : plan.partialsAt());
    long partialLse = scratch + (plan.direct() ? plan.directPartialLseAt() : plan.partialLseAt());
    block
        .put(TensorArguments.address(sums))
        .put(sums == null ? 0L : TensorArguments.stride(sums, 0))
        .put(sums == null ? 0L : TensorArguments.stride(sums, 1))
        .put(partials)
        .put(partialLse)
        .put(partials) // the heap of the selection, which is done by then
        .put(spec.scale() * LOG2_E)
        .put(spec.headDim())
        .put(spec.valueDim())
        .put(plan.valuePitch())
        .put(selectionTensor == null ? plan.lists().slots() : spec.topK() - 1)
        .put(firstHead)
        .put(heads)
        .put(
            bit(q, VECTOR_Q)
                | bit(k, VECTOR_K)
                | bit(v, VECTOR_V)
                | bit(means, VECTOR_MEANS)
                | bit(out, VECTOR_OUT));
  }
}
