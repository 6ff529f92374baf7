package dev.weft.backend.cpu.parallel;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT_UNALIGNED;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.host.HostMemory;
import dev.weft.backend.cpu.host.HostStream;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.backend.cpu.moba.BlockMean;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MobaKernel;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * MoBA in F32 on all cores. Work is cut by sizes alone and every sum has a fixed order, so results
 * do not depend on the number of threads, and a decoded token has the bits of its prefill.
 *
 * <p>Scratch: forward keeps the block means of the kv heads of a pass, F32 [heads, blocks, D]; for
 * backward see {@link MobaBackwardWorkspace}. Under a workspace limit the kv heads go in several
 * passes.
 */
final class CpuMoba implements MobaKernel {
  private static final int ROWS_PER_TASK = 64;

  // Arrays of the scratch.
  private static final int KEY = 0;
  private static final int RESULT = 1;

  private final MobaAttentionSpec spec;
  private final Compute compute;
  private final WorkPool pool;

  CpuMoba(MobaAttentionSpec spec, Compute compute) {
    this.spec = spec;
    this.compute = compute;
    pool = compute.pool();
  }

  static Support supports(MobaAttentionSpec spec) {
    return Support.yes();
  }

  @Override
  public long workspaceBytes(Mode mode, Limits limits) {
    return switch (mode) {
      case FORWARD -> {
        long perHead = meansPerHead(limits);
        yield perHead * headsPerPass(perHead);
      }
      case BACKWARD -> MobaBackwardWorkspace.bytes(spec, limits);
      case PAGED -> 0;
    };
  }

  private long meansPerHead(Limits limits) {
    boolean selects = spec.topK() > 1;
    return selects ? limits.tokens() / spec.blockSize() * spec.headDim() * Float.BYTES : 0;
  }

  private int headsPerPass(long bytesPerHead) {
    long fitting = bytesPerHead == 0 ? spec.kvHeads() : spec.workspaceLimit() / bytesPerHead;
    return Math.clamp(fitting, 1, spec.kvHeads());
  }

  private static MemorySegment workspace(LaunchContext context) {
    return context.workspace() instanceof HostMemory memory
        ? memory.segment().asSlice(context.workspaceOffset(), context.workspaceBytes())
        : MemorySegment.NULL;
  }

  @Override
  public void forward(LaunchContext context, MobaForward a) {
    HostStream.of(context).submit("moba.forward", () -> forward(workspace(context), a));
  }

  private void forward(MemorySegment means, MobaForward a) {
    List<MobaSequence> sequences = MobaSequence.packed(a.cuSeqlens(), a.k(), a.v());
    MobaBlockTable table = new MobaBlockTable(sequences, spec.blockSize());
    MobaForwardPass pass =
        new MobaForwardPass(spec, compute, sequences, a.q(), a.out(), a.lse(), a.selection());
    int dim = spec.headDim();
    int step = headsPerPass(meansPerHead(Limits.of(a.q().size(0), 0)));
    for (int from = 0; from < spec.kvHeads(); from += step) {
      int first = from;
      int end = Math.min(spec.kvHeads(), from + step);
      if (spec.topK() > 1) {
        computeMeans(sequences, table, first, end, means);
      }
      pass.run(
          (sequence, kvHead) -> {
            long base = (kvHead - first) * table.total() + table.firstBlock(sequence);
            return (block, into, at) -> {
              MemorySegment.copy(
                  means, JAVA_FLOAT_UNALIGNED, (base + block) * dim * Float.BYTES, into, at, dim);
              return true;
            };
          },
          first,
          end);
    }
  }

  private void computeMeans(
      List<MobaSequence> sequences,
      MobaBlockTable table,
      int fromHead,
      int toHead,
      MemorySegment means) {
    int dim = spec.headDim();
    List<MobaBlockTable.Piece> pieces = table.pieces(ROWS_PER_TASK);
    int heads = toHead - fromHead;
    compute.share(
        Math.multiplyExact(pieces.size(), heads),
        (own, scratch) -> {
          BlockMean mean = mean(scratch);
          float[] row = scratch.floats(RESULT, dim);
          for (int task = own.next(); task >= 0; task = own.next()) {
            MobaBlockTable.Piece piece = pieces.get(task / heads);
            int head = task % heads;
            for (int block = piece.from(); block < piece.to(); block++) {
              mean.compute(sequences.get(piece.sequence()), block, fromHead + head, row, 0);
              long at = head * table.total() + table.firstBlock(piece.sequence()) + block;
              MemorySegment.copy(row, 0, means, JAVA_FLOAT_UNALIGNED, at * dim * Float.BYTES, dim);
            }
          }
        });
  }

  private BlockMean mean(TaskScratch scratch) {
    int dim = spec.headDim();
    return new BlockMean(
        spec.dataType(), dim, spec.blockSize(), scratch.floats(KEY, dim), scratch.doubles(0, dim));
  }

  @Override
  public void paged(LaunchContext context, MobaPaged a) {
    HostStream.of(context)
        .submit(
            "moba.paged",
            () -> {
              List<MobaSequence> sequences = MobaSequence.paged(spec, a);
              new MobaForwardPass(spec, compute, sequences, a.q(), a.out(), a.lse(), a.selection())
                  .run(
                      (sequence, kvHead) ->
                          (block, into, at) ->
                              sequences.get(sequence).copyMean(block, kvHead, into, at),
                      0,
                      spec.kvHeads());
            });
  }

  @Override
  public void backward(LaunchContext context, MobaBackward a) {
    HostStream.of(context).submit("moba.backward", () -> backward(workspace(context), a));
  }

  private void backward(MemorySegment scratch, MobaBackward a) {
    List<MobaSequence> sequences = MobaSequence.packed(a.cuSeqlens(), a.k(), a.v());
    Limits limits = Limits.of(a.q().size(0), a.cuSeqlens().size(0) - 1);
    MobaBackwardWorkspace workspace = new MobaBackwardWorkspace(spec, limits, scratch);
    boolean forKeys = a.dk() != null || a.dv() != null;
    Tensor dq = a.dq();
    boolean withParts = dq != null && forKeys && workspace.hasParts();
    if (dq != null && !withParts) {
      new MobaQueryGradients(spec, compute, sequences, a, dq).run();
    }
    int step = workspace.headsPerPass();
    for (int from = 0; forKeys && from < spec.kvHeads(); from += step) {
      int end = Math.min(spec.kvHeads(), from + step);
      MobaReaders readers =
          new MobaReaders(spec, sequences, a.selection(), limits, from, end, workspace.readers());
      readers.fill(pool);
      MobaRowGradients rows = new MobaRowGradients(spec, compute, sequences, a, workspace);
      rows.computeDeltas(from, end);
      new MobaKeyGradients(spec, compute, sequences, a, readers, workspace, withParts)
          .run(from, end);
      if (dq != null && withParts) {
        rows.sumParts(Elements.of(dq), from, end);
      }
    }
  }

  @Override
  public void append(LaunchContext context, MobaAppend a) {
    HostStream.of(context).submit("moba.append", () -> append(a));
  }

  /** Stores all rows first: a mean is that of the stored keys, whichever call stored them. */
  private void append(MobaAppend a) {
    List<MobaSequence> sequences = MobaSequence.paged(spec, a);
    List<MobaBlockTable.Piece> rows = new ArrayList<>();
    List<MobaBlockTable.Piece> blocks = new ArrayList<>();
    for (int s = 0; s < sequences.size(); s++) {
      int first = sequences.get(s).firstPosition();
      int end = sequences.get(s).keys();
      MobaBlockTable.cut(s, first, end, ROWS_PER_TASK, rows);
      int perTask = Math.max(1, ROWS_PER_TASK / spec.blockSize());
      MobaBlockTable.cut(s, first / spec.blockSize(), end / spec.blockSize(), perTask, blocks);
    }
    Elements keyCache = Elements.of(a.keyCache());
    Elements valueCache = Elements.of(a.valueCache());
    Elements k = Elements.of(a.k());
    Elements v = Elements.of(a.v());
    compute.run(
        rows.size(),
        (task, scratch) -> {
          MobaBlockTable.Piece positions = rows.get(task);
          MobaSequence sequence = sequences.get(positions.sequence());
          float[] key = scratch.floats(KEY, spec.headDim());
          float[] value = scratch.floats(RESULT, spec.valueDim());
          for (int position = positions.from(); position < positions.to(); position++) {
            int page = sequence.page(position);
            long t = (long) sequence.firstRow() + position - sequence.firstPosition();
            for (int kvHead = 0; page >= 0 && kvHead < spec.kvHeads(); kvHead++) {
              k.copyRow(key, 0, t, kvHead);
              v.copyRow(value, 0, t, kvHead);
              keyCache.setRow(key, 0, page, position % spec.pageSize(), kvHead);
              valueCache.setRow(value, 0, page, position % spec.pageSize(), kvHead);
            }
          }
        });
    Elements means = Elements.of(a.blockMeans());
    compute.run(
        blocks.size(),
        (task, scratch) -> {
          MobaBlockTable.Piece piece = blocks.get(task);
          MobaSequence sequence = sequences.get(piece.sequence());
          BlockMean mean = mean(scratch);
          float[] row = scratch.floats(RESULT, spec.headDim());
          for (int block = piece.from(); block < piece.to(); block++) {
            int last = (block + 1) * spec.blockSize() - 1;
            int page = sequence.page(last);
            for (int kvHead = 0; page >= 0 && kvHead < spec.kvHeads(); kvHead++) {
              if (mean.compute(sequence, block, kvHead, row, 0)) {
                means.setRow(row, 0, page, last % spec.pageSize() / spec.blockSize(), kvHead);
              }
            }
          }
        });
  }
}
