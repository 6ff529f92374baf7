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
public record MobaTensors(
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

  /** Those of a forward pass over packed sequences. */
  public static MobaTensors of(MobaAttentionSpec spec, MobaForward a) {
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

  /** Those of a forward pass over the cache. */
  public static MobaTensors of(MobaAttentionSpec spec, MobaPaged a) {
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

  /** Those of an append to the cache. */
  public static MobaTensors of(MobaAttentionSpec spec, MobaAppend a) {
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

  /** Whether keys and values lie in the cache. */
  public boolean isPaged() {
    return cacheLens != null;
  }

  /** T, as the device counts tokens. */
  public int tokens() {
    return TensorLayout.tokens(q.size(0));
  }

  /** B. */
  public int sequences() {
    return Math.toIntExact(cuSeqlens.size(0) - 1);
  }

  /** Query heads of a key-value head. */
  public int group() {
    return spec.heads() / spec.kvHeads();
  }

  /** The bit if all rows of a tensor start at multiples of 16 bytes; of none, too. */
  public static int aligned(@Nullable Tensor tensor, int bit) {
    return TensorLayout.isAligned(tensor, VECTOR_BYTES) ? bit : 0;
  }

  /** The bits of all that start at multiples of 16 bytes. */
  public int alignment() {
    return aligned(q, ALIGNED_Q)
        | aligned(k, ALIGNED_K)
        | aligned(v, ALIGNED_V)
        | aligned(means, ALIGNED_MEANS) // scratch is aligned
        | aligned(out, ALIGNED_OUT);
  }

  /** The BATCH_PARAMETERS of batch.clh, the structure Batch of CUDA's forward.cuh. */
  public void putBatch(Arguments to) {
    Tensor table = pageTable;
    to.region(Region.of(cuSeqlens))
        .region(Region.ofNullable(cacheLens))
        .region(Region.ofNullable(table))
        .value(table == null ? 0L : TensorLayout.stride(table, 0))
        .value(tokens())
        .value(sequences())
        .value(group())
        .value(spec.blockSize())
        .value(table == null ? 1 : spec.pageSize())
        .value(table == null ? 1 : TensorLayout.tokens(k.size(0)))
        .value(table == null ? 0 : Math.toIntExact(table.size(1)))
        .value(table == null ? 0 : MobaListLayout.blocksPerSequence(spec, table.size(1)));
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
  public static void putMatrix(Arguments to, @Nullable Tensor tensor) {
    to.region(Region.ofNullable(tensor))
        .value(tensor == null ? 0L : TensorLayout.stride(tensor, 0))
        .value(tensor == null ? 0L : TensorLayout.stride(tensor, 1));
  }

  /** A place, and the strides of pages, slots and heads: of the cache, or of rows as one page. */
  public static void putPages(Arguments to, Tensor tensor) {
    to.region(Region.of(tensor))
        .value(tensor.rank() == 4 ? TensorLayout.stride(tensor, 0) : 0L)
        .value(TensorLayout.stride(tensor, tensor.rank() - 3))
        .value(TensorLayout.stride(tensor, tensor.rank() - 2));
  }
}
