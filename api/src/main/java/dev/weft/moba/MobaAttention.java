package dev.weft.moba;

import static dev.weft.DataType.F32;
import static dev.weft.DataType.I32;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.Kernel;
import dev.weft.Launch;
import dev.weft.Limits;
import dev.weft.Prepared;
import dev.weft.Sequences;
import dev.weft.Stream;
import dev.weft.Tensor;
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.spi.MobaKernel;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * MoBA attention on a device. Every launch enqueues and returns.
 *
 * <p>Blocks of {@code blockSize} tokens start at each sequence's start. A block's mean is the F32
 * sum of its keys over its length, rounded to the storage type; its score for a query is the F32
 * dot product of both, unscaled, per query head. A query attends to its own block causally and to
 * the {@code topK - 1} past blocks of highest score, wholly; NaN counts as minus infinity, and ties
 * go to the lower block.
 */
public final class MobaAttention extends Kernel<MobaKernel> {
  private final MobaAttentionSpec spec;

  MobaAttention(Prepared prepared, MobaAttentionSpec spec) {
    super(prepared, MobaKernel.class);
    this.spec = spec;
  }

  /**
   * Returns what this was prepared for.
   *
   * @return the spec
   */
  public MobaAttentionSpec spec() {
    return spec;
  }

  @Override
  public long workspaceBytes(Limits limits) {
    long most = 0;
    for (Mode mode : spec.modes()) {
      most = Math.max(most, workspaceBytes(mode, limits));
    }
    return most;
  }

  /**
   * Returns the scratch memory that launches of one mode need at most. Pure.
   *
   * @param mode the mode
   * @param limits the most tokens, sequences and pages
   * @return bytes
   * @throws IllegalArgumentException if the spec lacks the mode
   */
  public long workspaceBytes(Mode mode, Limits limits) {
    requireMode(Launch.of("workspaceBytes"), mode);
    return bytes("MobaKernel.workspaceBytes", k -> k.workspaceBytes(mode, limits));
  }

  /**
   * Enqueues a forward pass.
   *
   * @param stream orders it
   * @param a the tensors
   * @throws IllegalArgumentException naming the tensor that does not fit, before anything is
   *     enqueued
   */
  public void forward(Stream stream, MobaForward a) {
    Launch launch = start("moba.forward", Mode.FORWARD);
    DataType type = spec.dataType();
    long tokens = rows(launch, "q", a.q(), 3);
    long sequences = Sequences.count(launch.name(), a.cuSeqlens());
    readQkv(launch, tokens, a.q(), a.k(), a.v())
        .read("cuSeqlens", a.cuSeqlens(), I32, sequences + 1)
        .write("out", a.out(), type, tokens, spec.heads(), spec.valueDim())
        .write("lse", a.lse(), F32, tokens, spec.heads())
        .write("selection", a.selection(), I32, tokens, spec.heads(), spec.topK() - 1)
        .workspace(workspaceBytes(Mode.FORWARD, Limits.of(tokens, sequences)))
        .validate(v -> Sequences.checkAscending(launch.name(), v, a.cuSeqlens(), tokens));
    launch(stream, launch, (kernel, context) -> kernel.forward(context, a));
  }

  /**
   * Enqueues a backward pass.
   *
   * @param stream orders it
   * @param a the tensors
   * @throws IllegalArgumentException naming the tensor that does not fit, before anything is
   *     enqueued
   */
  public void backward(Stream stream, MobaBackward a) {
    Launch launch = start("moba.backward", Mode.BACKWARD);
    DataType type = spec.dataType();
    long tokens = rows(launch, "q", a.q(), 3);
    long sequences = Sequences.count(launch.name(), a.cuSeqlens());
    readQkv(launch, tokens, a.q(), a.k(), a.v())
        .read("cuSeqlens", a.cuSeqlens(), I32, sequences + 1)
        .read("out", a.out(), type, tokens, spec.heads(), spec.valueDim())
        .read("lse", a.lse(), F32, tokens, spec.heads())
        .read("dout", a.dout(), type, tokens, spec.heads(), spec.valueDim())
        .read("selection", a.selection(), I32, tokens, spec.heads(), spec.topK() - 1)
        .write("dq", a.dq(), type, tokens, spec.heads(), spec.headDim())
        .write("dk", a.dk(), type, tokens, spec.kvHeads(), spec.headDim())
        .write("dv", a.dv(), type, tokens, spec.kvHeads(), spec.valueDim())
        .require(
            a.selection() != null
                || spec.topK() == 1
                || blocks(tokens, spec.blockSize()) <= spec.topK(),
            () ->
                "selection: expected what forward wrote, as "
                    + tokens
                    + " tokens may hold more than topK="
                    + spec.topK()
                    + " blocks, but there was none")
        .workspace(workspaceBytes(Mode.BACKWARD, Limits.of(tokens, sequences)))
        .validate(v -> Sequences.checkAscending(launch.name(), v, a.cuSeqlens(), tokens));
    launch(stream, launch, (kernel, context) -> kernel.backward(context, a));
  }

  /**
   * Enqueues an append to the paged cache.
   *
   * @param stream orders it
   * @param a the tensors
   * @throws IllegalArgumentException naming the tensor that does not fit, before anything is
   *     enqueued
   */
  public void append(Stream stream, MobaAppend a) {
    Launch launch = start("moba.append", Mode.PAGED);
    DataType type = spec.dataType();
    long tokens = rows(launch, "k", a.k(), 3);
    long sequences = Sequences.count(launch.name(), a.cuSeqlens());
    launch
        .read("k", a.k(), type, tokens, spec.kvHeads(), spec.headDim())
        .read("v", a.v(), type, tokens, spec.kvHeads(), spec.valueDim());
    cache(launch, sequences, a.cuSeqlens(), a.cacheLens(), a.pageTable());
    cacheTensors(launch, true, a.keyCache(), a.valueCache(), a.blockMeans())
        .workspace(workspaceBytes(Mode.PAGED, new Limits(tokens, sequences, a.pageTable().size(1))))
        .validate(v ->
            checkCache(
                launch, v, a.cuSeqlens(), a.cacheLens(), a.pageTable(), a.keyCache(), tokens));
    launch(stream, launch, (kernel, context) -> kernel.append(context, a));
  }

  /**
   * Enqueues attention over the paged cache.
   *
   * @param stream orders it
   * @param a the tensors
   * @throws IllegalArgumentException naming the tensor that does not fit, before anything is
   *     enqueued
   */
  public void paged(Stream stream, MobaPaged a) {
    Launch launch = start("moba.paged", Mode.PAGED);
    DataType type = spec.dataType();
    long tokens = rows(launch, "q", a.q(), 3);
    long sequences = Sequences.count(launch.name(), a.cuSeqlens());
    launch.read("q", a.q(), type, tokens, spec.heads(), spec.headDim());
    cache(launch, sequences, a.cuSeqlens(), a.cacheLens(), a.pageTable());
    cacheTensors(launch, false, a.keyCache(), a.valueCache(), a.blockMeans())
        .write("out", a.out(), type, tokens, spec.heads(), spec.valueDim())
        .write("lse", a.lse(), F32, tokens, spec.heads())
        .write("selection", a.selection(), I32, tokens, spec.heads(), spec.topK() - 1)
        .workspace(workspaceBytes(Mode.PAGED, new Limits(tokens, sequences, a.pageTable().size(1))))
        .validate(v ->
            checkCache(
                launch, v, a.cuSeqlens(), a.cacheLens(), a.pageTable(), a.keyCache(), tokens));
    launch(stream, launch, (kernel, context) -> kernel.paged(context, a));
  }

  private Launch requireMode(Launch launch, Mode mode) {
    return launch.require(
        spec.modes().contains(mode),
        () -> "the spec was prepared for " + spec.modes() + " only; add " + mode + " to its modes");
  }

  private Launch start(String name, Mode mode) {
    return requireMode(Launch.of(name), mode);
  }

  private Launch readQkv(Launch launch, long tokens, Tensor q, Tensor k, Tensor v) {
    DataType type = spec.dataType();
    return launch
        .read("q", q, type, tokens, spec.heads(), spec.headDim())
        .read("k", k, type, tokens, spec.kvHeads(), spec.headDim())
        .read("v", v, type, tokens, spec.kvHeads(), spec.valueDim());
  }

  private static void cache(
      Launch launch, long sequences, Tensor cuSeqlens, Tensor cacheLens, Tensor pageTable) {
    launch
        .read("cuSeqlens", cuSeqlens, I32, sequences + 1)
        .read("cacheLens", cacheLens, I32, sequences)
        .read("pageTable", pageTable, I32, sequences, Launch.ANY);
  }

  private Launch cacheTensors(
      Launch launch, boolean written, Tensor keyCache, Tensor valueCache, Tensor blockMeans) {
    DataType type = spec.dataType();
    long pages = rows(launch, "keyCache", keyCache, 4);
    long p = spec.pageSize();
    Launch.Layout rows = Launch.Layout.ROWS;
    return launch
        .add("keyCache", keyCache, written, rows, type, pages, p, spec.kvHeads(), spec.headDim())
        .add(
            "valueCache",
            valueCache,
            written,
            rows,
            type,
            pages,
            p,
            spec.kvHeads(),
            spec.valueDim())
        .add(
            "blockMeans",
            blockMeans,
            written,
            rows,
            type,
            pages,
            spec.meansPerPage(),
            spec.kvHeads(),
            spec.headDim());
  }

  private void checkCache(
      Launch launch,
      Function<Tensor, HostTensor> download,
      Tensor cuSeqlens,
      Tensor cacheLens,
      Tensor pageTable,
      Tensor keyCache,
      long tokens) {
    Sequences.checkAscending(launch.name(), download, cuSeqlens, tokens);
    int[] starts = download.apply(cuSeqlens).toInts();
    int[] lengths = download.apply(cacheLens).toInts();
    int[] pages = download.apply(pageTable).toInts();
    int columns = Math.toIntExact(pageTable.size(1));
    for (int i = 0; i < lengths.length; i++) {
      int b = i;
      int added = starts[b + 1] - starts[b];
      launch.require(
          lengths[b] >= added,
          () ->
              "cacheLens["
                  + b
                  + "]: expected at least the "
                  + added
                  + " new tokens, but was "
                  + lengths[b]);
      long needed = blocks(lengths[b], spec.pageSize());
      launch.require(
          needed <= columns,
          () ->
              "pageTable: sequence "
                  + b
                  + " of "
                  + lengths[b]
                  + " tokens needs "
                  + needed
                  + " pages, but there are "
                  + columns
                  + " columns");
      for (int j = 0; j < needed; j++) {
        int p = j;
        int page = pages[b * columns + p];
        launch.require(
            page >= 0 && page < keyCache.size(0),
            () ->
                "pageTable["
                    + b
                    + ", "
                    + p
                    + "]: expected 0.."
                    + (keyCache.size(0) - 1)
                    + ", but was "
                    + page);
      }
    }
  }

  private static long rows(Launch launch, String name, @Nullable Tensor tensor, int rank) {
    launch.require(
        tensor != null && tensor.rank() == rank,
        () -> name + ": expected " + rank + " dimensions, but was " + tensor);
    return tensor == null ? 0 : tensor.size(0);
  }

  private static long blocks(long tokens, long size) {
    return (tokens + size - 1) / size;
  }
}
