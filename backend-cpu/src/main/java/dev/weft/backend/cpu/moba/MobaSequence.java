package dev.weft.backend.cpu.moba;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaPaged;
import java.util.ArrayList;
import java.util.List;

/**
 * One sequence of a launch: which packed rows are its queries, at which positions they stand, and
 * where the key and value of each position lie. Reads device memory, so it is made and used within
 * submitted work only.
 *
 * <p>A sequence whose rows make no sense is left out. One whose cached length makes no sense has no
 * position: none of its new tokens sees or stores anything. A position whose page is out of range
 * is absent.
 */
public abstract class MobaSequence {
  private final int firstRow;
  private final int queries;
  private final int keys;

  private MobaSequence(int firstRow, int queries, int keys) {
    this.firstRow = firstRow;
    this.queries = queries;
    this.keys = keys;
  }

  /** Sequences whose queries, keys and values are the same packed rows. */
  public static List<MobaSequence> packed(Tensor cuSeqlens, Tensor k, Tensor v) {
    Elements keys = Elements.of(k);
    Elements values = Elements.of(v);
    List<MobaSequence> sequences = new ArrayList<>();
    for (Range range : ranges(cuSeqlens, k.size(0))) {
      if (range.length > 0) {
        sequences.add(new Packed(range, keys, values));
      }
    }
    return sequences;
  }

  /** Sequences whose queries are packed and whose keys and values lie in the cache. */
  public static List<MobaSequence> paged(MobaAttentionSpec spec, MobaPaged a) {
    return paged(
        spec,
        ranges(a.cuSeqlens(), a.q().size(0)),
        a.cacheLens(),
        a.pageTable(),
        new Cache(a.keyCache(), a.valueCache(), a.blockMeans()));
  }

  /** The sequences of an append; their keys and values are those in the cache. */
  public static List<MobaSequence> paged(MobaAttentionSpec spec, MobaAppend a) {
    return paged(
        spec,
        ranges(a.cuSeqlens(), a.k().size(0)),
        a.cacheLens(),
        a.pageTable(),
        new Cache(a.keyCache(), a.valueCache(), a.blockMeans()));
  }

  private static List<MobaSequence> paged(
      MobaAttentionSpec spec, List<Range> ranges, Tensor cacheLens, Tensor pageTable, Cache cache) {
    Elements lengths = Elements.of(cacheLens);
    Elements table = Elements.of(pageTable);
    long capacity = pageTable.size(1) * spec.pageSize();
    List<MobaSequence> sequences = new ArrayList<>();
    for (Range range : ranges) {
      if (range.length > 0) {
        int length = lengths.getInt(range.sequence);
        boolean fits = length >= range.length && length <= capacity;
        sequences.add(new Paged(spec, range, fits ? length : 0, table, cache));
      }
    }
    return sequences;
  }

  /**
   * The rows of each sequence, ascending and apart. A sequence that leaves the tensor, ends before
   * it starts or goes back behind another is left out.
   */
  private static List<Range> ranges(Tensor cuSeqlens, long rows) {
    Elements starts = Elements.of(cuSeqlens);
    int sequences = Math.toIntExact(starts.size(0) - 1);
    List<Range> ranges = new ArrayList<>(sequences);
    int reached = 0;
    for (int b = 0; b < sequences; b++) {
      int start = starts.getInt(b);
      int end = starts.getInt(b + 1);
      if (start >= reached && end >= start && end <= rows) {
        ranges.add(new Range(b, start, end - start));
        reached = end;
      }
    }
    return ranges;
  }

  private record Range(int sequence, int start, int length) {}

  /** Returns the first of the sequence's packed rows. */
  public final int firstRow() {
    return firstRow;
  }

  /** Returns how many packed rows, that is queries, the sequence has. */
  public final int queries() {
    return queries;
  }

  /** Returns how many positions hold a key, those of the queries included; 0 if it is skipped. */
  public final int keys() {
    return keys;
  }

  /** Returns the position of the first query; 0 if the sequence is skipped. */
  public final int firstPosition() {
    return Math.max(0, keys - queries);
  }

  /**
   * Reads a key row.
   *
   * @return false, with nothing read, where the position is absent
   */
  public abstract boolean copyKey(int position, int kvHead, float[] into, int at);

  /**
   * Reads a value row.
   *
   * @return false, with nothing read, where the position is absent
   */
  public abstract boolean copyValue(int position, int kvHead, float[] into, int at);

  /**
   * Finds a key row.
   *
   * @return its offset in {@link #keyRows()}, in bytes; -1 where the position is absent
   */
  public abstract long keyOffset(int position, int kvHead);

  /**
   * Finds a value row.
   *
   * @return its offset in {@link #valueRows()}, in bytes; -1 where the position is absent
   */
  public abstract long valueOffset(int position, int kvHead);

  /** Returns the tensor that key rows lie in. */
  public abstract Elements keyRows();

  /** Returns the tensor that value rows lie in. */
  public abstract Elements valueRows();

  /**
   * Reads the stored mean of a complete block.
   *
   * @return false, with nothing read, where the page of the block's last token is out of range
   */
  public abstract boolean copyMean(int block, int kvHead, float[] into, int at);

  /**
   * Returns where a position is cached.
   *
   * @return the page, or -1 where the page table holds none in range
   */
  public abstract int page(int position);

  private static final class Packed extends MobaSequence {
    private final Elements k;
    private final Elements v;

    Packed(Range range, Elements k, Elements v) {
      super(range.start, range.length, range.length);
      this.k = k;
      this.v = v;
    }

    @Override
    public boolean copyKey(int position, int kvHead, float[] into, int at) {
      k.copyRow(into, at, (long) firstRow() + position, kvHead);
      return true;
    }

    @Override
    public boolean copyValue(int position, int kvHead, float[] into, int at) {
      v.copyRow(into, at, (long) firstRow() + position, kvHead);
      return true;
    }

    @Override
    public long keyOffset(int position, int kvHead) {
      return k.byteOffset((long) firstRow() + position, kvHead);
    }

    @Override
    public long valueOffset(int position, int kvHead) {
      return v.byteOffset((long) firstRow() + position, kvHead);
    }

    @Override
    public Elements keyRows() {
      return k;
    }

    @Override
    public Elements valueRows() {
      return v;
    }

    @Override
    public boolean copyMean(int block, int kvHead, float[] into, int at) {
      throw new IllegalStateException("packed sequences store no means");
    }

    @Override
    public int page(int position) {
      throw new IllegalStateException("packed sequences have no pages");
    }
  }

  private record Cache(Elements k, Elements v, Elements means) {
    Cache(Tensor k, Tensor v, Tensor means) {
      this(Elements.of(k), Elements.of(v), Elements.of(means));
    }
  }

  private static final class Paged extends MobaSequence {
    private final int sequence;
    private final int pageSize;
    private final int blockSize;
    private final Elements table;
    private final Cache cache;

    Paged(MobaAttentionSpec spec, Range range, int keys, Elements table, Cache cache) {
      super(range.start, range.length, keys);
      this.sequence = range.sequence;
      this.pageSize = spec.pageSize();
      this.blockSize = spec.blockSize();
      this.table = table;
      this.cache = cache;
    }

    @Override
    public boolean copyKey(int position, int kvHead, float[] into, int at) {
      int page = page(position);
      if (page >= 0) {
        cache.k.copyRow(into, at, page, position % pageSize, kvHead);
      }
      return page >= 0;
    }

    @Override
    public boolean copyValue(int position, int kvHead, float[] into, int at) {
      int page = page(position);
      if (page >= 0) {
        cache.v.copyRow(into, at, page, position % pageSize, kvHead);
      }
      return page >= 0;
    }

    @Override
    public long keyOffset(int position, int kvHead) {
      int page = page(position);
      return page < 0 ? -1 : cache.k.byteOffset(page, position % pageSize, kvHead);
    }

    @Override
    public long valueOffset(int position, int kvHead) {
      int page = page(position);
      return page < 0 ? -1 : cache.v.byteOffset(page, position % pageSize, kvHead);
    }

    @Override
    public Elements keyRows() {
      return cache.k;
    }

    @Override
    public Elements valueRows() {
      return cache.v;
    }

    @Override
    public boolean copyMean(int block, int kvHead, float[] into, int at) {
      int last = (block + 1) * blockSize - 1;
      int page = page(last);
      if (page >= 0) {
        cache.means.copyRow(into, at, page, last % pageSize / blockSize, kvHead);
      }
      return page >= 0;
    }

    @Override
    public int page(int position) {
      int page = table.getInt(sequence, position / pageSize);
      return page >= 0 && page < cache.k.size(0) ? page : -1;
    }
  }
}
