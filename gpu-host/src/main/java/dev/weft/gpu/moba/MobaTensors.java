package dev.weft.gpu.moba;

import dev.weft.Tensor;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import org.jspecify.annotations.Nullable;

/**
 * The tensors of a forward, paged or append launch, as kernels get them.
 *
 * @param q queries; in append the new keys
 * @param out outputs; in append the new values
 */
record MobaTensors(
    MobaAttentionSpec spec,
    Tensor q,
    Tensor out,
    Tensor k,
    Tensor v,
    @Nullable Tensor means,
    Tensor cuSeqlens,
    @Nullable Tensor cacheLens,
    @Nullable Tensor pageTable,
    @Nullable Tensor lse,
    @Nullable Tensor selection) {
  /** Bits of an aligned argument: rows.clh. */
  static final int ALIGNED_Q = 1;

  static final int ALIGNED_K = 2;
  static final int ALIGNED_V = 4;
  static final int ALIGNED_MEANS = 8;
  static final int ALIGNED_OUT = 16;
  static final int ALIGNED_DOUT = 32;
  static final int ALIGNED_DK = 64;
  static final int ALIGNED_DV = 128;

  private static final int VECTOR_BYTES = 16;

  static MobaTensors of(MobaAttentionSpec spec, MobaForward a) {
    return new MobaTensors(
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

  static MobaTensors of(MobaAttentionSpec spec, MobaPaged a) {
    return new MobaTensors(
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

  static MobaTensors of(MobaAttentionSpec spec, MobaAppend a) {
    return new MobaTensors(
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

  int tokens() {
    return TensorLayout.tokens(q.size(0));
  }

  int sequences() {
    return Math.toIntExact(cuSeqlens.size(0) - 1);
  }

  int group() {
    return spec.heads() / spec.kvHeads();
  }

  /** The bit if all rows of a tensor start at multiples of 16 bytes; of none, too. */
  static int aligned(@Nullable Tensor tensor, int bit) {
    return TensorLayout.isAligned(tensor, VECTOR_BYTES) ? bit : 0;
  }

  int alignment() {
    return aligned(q, ALIGNED_Q)
        | aligned(k, ALIGNED_K)
        | aligned(v, ALIGNED_V)
        | aligned(means, ALIGNED_MEANS) // scratch is aligned
        | aligned(out, ALIGNED_OUT);
  }

  /** The BATCH_PARAMETERS of batch.clh. */
  void putBatch(Arguments to) {
    Tensor table = pageTable;
    boolean paged = table != null;
    to.region(Region.of(cuSeqlens))
        .region(Region.ofNullable(cacheLens))
        .region(Region.ofNullable(table))
        .value(table == null ? 0L : TensorLayout.stride(table, 0))
        .value(tokens())
        .value(sequences())
        .value(group())
        .value(spec.blockSize())
        .value(paged ? spec.pageSize() : 1)
        .value(paged ? TensorLayout.tokens(k.size(0)) : 1)
        .value(table == null ? 0 : Math.toIntExact(table.size(1)))
        .value(table == null ? 0 : MobaForwardPlan.blocksPerSequence(spec, table.size(1)));
  }

  /** The same of packed sequences alone. */
  static void putPackedBatch(Arguments to, MobaAttentionSpec spec, Tensor cuSeqlens, int tokens) {
    to.region(Region.of(cuSeqlens))
        .region(null)
        .region(null)
        .value(0L)
        .value(tokens)
        .value(Math.toIntExact(cuSeqlens.size(0) - 1))
        .value(spec.heads() / spec.kvHeads())
        .value(spec.blockSize())
        .value(1)
        .value(1)
        .value(0)
        .value(0);
  }

  /** A place, and the strides of tokens and heads: [T, heads, width]. */
  static void putMatrix(Arguments to, @Nullable Tensor tensor) {
    to.region(Region.ofNullable(tensor))
        .value(tensor == null ? 0L : TensorLayout.stride(tensor, 0))
        .value(tensor == null ? 0L : TensorLayout.stride(tensor, 1));
  }

  /** A place, and the strides of pages, slots and heads: of the cache, or of rows as one page. */
  static void putPages(Arguments to, Tensor tensor) {
    to.region(Region.of(tensor))
        .value(tensor.rank() == 4 ? TensorLayout.stride(tensor, 0) : 0L)
        .value(TensorLayout.stride(tensor, tensor.rank() - 3))
        .value(TensorLayout.stride(tensor, tensor.rank() - 2));
  }
}
