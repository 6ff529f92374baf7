package dev.weft.backend.cpu.parallel;

import static java.lang.foreign.ValueLayout.JAVA_LONG_UNALIGNED;

import dev.weft.Limits;
import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The selection turned over: for each block the rows that selected it, ascending, and in which
 * slot. A row is {@code position * group + head within the group}; where there is no selection, a
 * block's slot is its number. Per sequence and kv head a counting sort into scratch: where each
 * block's rows end, then the rows, each as {@code row * slots + slot}.
 */
final class MobaReaders {
  private final MobaAttentionSpec spec;
  private final List<MobaSequence> sequences;
  private final @Nullable Elements selection;
  private final int group;
  private final int slots;
  private final int fromHead;
  private final int toHead;
  private final MobaBlockTable table;
  private final MemorySegment ends;
  private final MemorySegment rows;
  private final long endsPerHead;
  private final long rowsPerHead;

  /**
   * Lays the scratch out.
   *
   * @param selection [T, H, topK-1], or null where each block has all later rows as readers
   * @param limits the launch's sizes
   * @param scratch at least {@link #bytes} for each kv head
   */
  MobaReaders(
      MobaAttentionSpec spec,
      List<MobaSequence> sequences,
      @Nullable Tensor selection,
      Limits limits,
      int fromHead,
      int toHead,
      MemorySegment scratch) {
    this.spec = spec;
    this.sequences = sequences;
    this.selection = selection == null || spec.topK() == 1 ? null : Elements.of(selection);
    this.fromHead = fromHead;
    this.toHead = toHead;
    group = spec.heads() / spec.kvHeads();
    slots = spec.topK() - 1;
    table = new MobaBlockTable(sequences, spec.blockSize());
    endsPerHead = ends(spec, limits);
    rowsPerHead = rows(spec, limits);
    long endBytes = this.selection == null ? 0 : endsPerHead * (toHead - fromHead) * Long.BYTES;
    ends = scratch.asSlice(0, endBytes);
    rows = scratch.asSlice(endBytes);
  }

  /** Returns the scratch for one kv head. */
  static long bytes(MobaAttentionSpec spec, Limits limits) {
    return (ends(spec, limits) + rows(spec, limits)) * Long.BYTES;
  }

  private static long ends(MobaAttentionSpec spec, Limits limits) {
    return limits.tokens() / spec.blockSize();
  }

  private static long rows(MobaAttentionSpec spec, Limits limits) {
    return limits.tokens() * (spec.heads() / spec.kvHeads()) * (spec.topK() - 1);
  }

  void fill(WorkPool pool) {
    if (selection == null) {
      return;
    }
    int heads = toHead - fromHead;
    pool.run(
        Math.multiplyExact(sequences.size(), heads),
        task -> fill(task / heads, fromHead + task % heads));
  }

  private void fill(int s, int kvHead) {
    int blocks = table.blocks(s);
    long firstEnd = firstEnd(s, kvHead);
    for (int block = 0; block < blocks; block++) {
      setEnd(firstEnd + block, 0);
    }
    scan(s, kvHead, (place, block) -> setEnd(firstEnd + block, end(firstEnd + block) + 1));
    // From counts to starts; placing a row moves its block's start on, so that it ends as the end.
    long start = firstRow(s, kvHead);
    for (int block = 0; block < blocks; block++) {
      long count = end(firstEnd + block);
      setEnd(firstEnd + block, start);
      start += count;
    }
    scan(
        s,
        kvHead,
        (place, block) -> {
          long at = end(firstEnd + block);
          rows.set(JAVA_LONG_UNALIGNED, at * Long.BYTES, place);
          setEnd(firstEnd + block, at + 1);
        });
  }

  private interface Selected {
    void accept(long place, int block);
  }

  /** Takes the rows that selected a block. */
  interface Reader {
    /**
     * Takes one.
     *
     * @param slot of its selection
     */
    void read(long row, int slot);
  }

  private void scan(int s, int kvHead, Selected selected) {
    MobaSequence sequence = sequences.get(s);
    Elements blocks = selection;
    for (int position = 0; blocks != null && position < sequence.queries(); position++) {
      int own = position / spec.blockSize();
      for (int g = 0; g < group; g++) {
        for (int slot = 0; slot < slots; slot++) {
          int block =
              blocks.getInt((long) sequence.firstRow() + position, kvHead * group + g, slot);
          if (block >= 0 && block < own) {
            selected.accept(((long) position * group + g) * slots + slot, block);
          }
        }
      }
    }
  }

  /** Visits the rows that selected a block, ascending. */
  void each(int s, int kvHead, int block, Reader reader) {
    if (spec.topK() == 1) {
      return;
    }
    if (selection == null) {
      long first = (block + 1L) * spec.blockSize() * group;
      for (long row = first; row < (long) sequences.get(s).queries() * group; row++) {
        reader.read(row, block);
      }
      return;
    }
    if (block >= table.blocks(s)) {
      return;
    }
    long firstEnd = firstEnd(s, kvHead);
    long start = block == 0 ? firstRow(s, kvHead) : end(firstEnd + block - 1);
    for (long at = start; at < end(firstEnd + block); at++) {
      long place = rows.get(JAVA_LONG_UNALIGNED, at * Long.BYTES);
      reader.read(place / slots, (int) (place % slots));
    }
  }

  private long firstEnd(int s, int kvHead) {
    return (kvHead - fromHead) * endsPerHead + table.firstBlock(s);
  }

  private long firstRow(int s, int kvHead) {
    return (kvHead - fromHead) * rowsPerHead
        + (long) sequences.get(s).firstRow() * group * (spec.topK() - 1);
  }

  private long end(long index) {
    return ends.get(JAVA_LONG_UNALIGNED, index * Long.BYTES);
  }

  private void setEnd(long index, long value) {
    ends.set(JAVA_LONG_UNALIGNED, index * Long.BYTES, value);
  }
}
