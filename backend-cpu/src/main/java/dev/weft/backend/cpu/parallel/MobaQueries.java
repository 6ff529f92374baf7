package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A tile of queries: some tokens of a sequence, with all heads that share a kv head. Row r is token
 * {@code r / group} of the tile and head {@code r % group} of the group. A tile knows which blocks
 * its rows read and walks them block by block, so that each key is loaded once for all rows.
 */
final class MobaQueries {
  private static final int ROWS = 64;

  final MobaSequence sequence;
  final int kvHead;
  final int rows;
  final int[][] past;

  private final MobaAttentionSpec spec;
  private final int group;
  private final int firstToken;

  private MobaQueries(
      MobaAttentionSpec spec, MobaSequence sequence, int kvHead, int firstToken, int tokens) {
    this.spec = spec;
    this.sequence = sequence;
    this.kvHead = kvHead;
    this.firstToken = firstToken;
    group = spec.heads() / spec.kvHeads();
    rows = tokens * group;
    past = new int[rows][];
    Arrays.fill(past, new int[0]);
  }

  /** Cuts the queries of all sequences into tiles; the cut depends on sizes only. */
  static final class Cut {
    private final MobaAttentionSpec spec;
    private final List<MobaSequence> sequences;
    private final int tokensPerTile;
    private final int[] firstTile;

    Cut(MobaAttentionSpec spec, List<MobaSequence> sequences) {
      this.spec = spec;
      this.sequences = sequences;
      tokensPerTile = Math.max(1, ROWS / (spec.heads() / spec.kvHeads()));
      firstTile = new int[sequences.size() + 1];
      for (int s = 0; s < sequences.size(); s++) {
        firstTile[s + 1] = firstTile[s] + Math.ceilDiv(sequences.get(s).queries(), tokensPerTile);
      }
    }

    int tiles() {
      return firstTile[sequences.size()];
    }

    MobaQueries tile(int tile, int kvHead) {
      int s = sequenceOf(tile);
      int first = (tile - firstTile[s]) * tokensPerTile;
      MobaSequence sequence = sequences.get(s);
      int tokens = Math.min(tokensPerTile, sequence.queries() - first);
      return new MobaQueries(spec, sequence, kvHead, first, tokens);
    }

    int sequenceOf(int tile) {
      int found = Arrays.binarySearch(firstTile, tile);
      return found < 0 ? -found - 2 : found;
    }
  }

  /** Returns the packed row of a row's token. */
  long token(int row) {
    return (long) sequence.firstRow() + firstToken + row / group;
  }

  int head(int row) {
    return kvHead * group + row % group;
  }

  int position(int row) {
    return sequence.firstPosition() + firstToken + row / group;
  }

  int ownBlock(int row) {
    return position(row) / spec.blockSize();
  }

  /** Reads the rows of a [T, H, n] tensor densely. */
  float[] load(Elements elements) {
    int width = Math.toIntExact(elements.size(2));
    float[] dense = new float[rows * width];
    for (int r = 0; r < rows; r++) {
      elements.copyRow(dense, r * width, token(r), head(r));
    }
    return dense;
  }

  /** Writes rows of a [T, H, n] tensor. */
  void store(float[] dense, Elements elements) {
    int width = Math.toIntExact(elements.size(2));
    for (int r = 0; r < rows; r++) {
      elements.setRow(dense, r * width, token(r), head(r));
    }
  }

  /** Takes a given selection, or all past blocks where there is none. */
  void takeSelection(@Nullable Elements selection) {
    for (int r = 0; r < rows && spec.topK() > 1; r++) {
      int own = ownBlock(r);
      int[] blocks = new int[selection == null ? own : Math.toIntExact(selection.size(2))];
      int count = 0;
      for (int slot = 0; slot < blocks.length; slot++) {
        int block = selection == null ? slot : selection.getInt(token(r), head(r), slot);
        if (block >= 0 && block < own) {
          blocks[count++] = block;
        }
      }
      past[r] = Arrays.copyOf(blocks, count);
    }
  }

  /** Takes some keys of one block for the rows that read them. */
  interface Visitor {
    /**
     * Loads a tile of keys.
     *
     * @param from position of the first
     * @param count how many, at most {@link MobaTile#KEYS}
     */
    void load(int from, int count);

    /**
     * Lets a row read the loaded keys.
     *
     * @param visible how many of them it sees, at least 1
     */
    void visit(int row, int visible);
  }

  /** Walks all blocks that any row reads, ascending, its own last, tile by tile. */
  void walk(Visitor visitor) {
    long[] reads = reads();
    int size = spec.blockSize();
    for (int first = 0, end; first < reads.length; first = end) {
      int block = (int) (reads[first] >>> 32);
      int last = 0; // the last position that any row sees
      for (end = first; end < reads.length && (int) (reads[end] >>> 32) == block; end++) {
        last = Math.max(last, lastVisible((int) reads[end], block));
      }
      for (int from = block * size; from <= last; from += MobaTile.KEYS) {
        int count = Math.min(MobaTile.KEYS, last - from + 1);
        visitor.load(from, count);
        for (int read = first; read < end; read++) {
          int row = (int) reads[read];
          int visible = Math.min(count, lastVisible(row, block) - from + 1);
          if (visible > 0) {
            visitor.visit(row, visible);
          }
        }
      }
    }
  }

  private int lastVisible(int row, int block) {
    return (int) Math.min((block + 1L) * spec.blockSize() - 1, position(row));
  }

  /** Returns block and row of each read, sorted by block, then row. */
  private long[] reads() {
    int total = rows;
    for (int[] blocks : past) {
      total += blocks.length;
    }
    long[] reads = new long[sequence.keys() == 0 ? 0 : total];
    int count = 0;
    for (int r = 0; r < rows && reads.length > 0; r++) {
      for (int block : past[r]) {
        reads[count++] = (long) block << 32 | r;
      }
      reads[count++] = (long) ownBlock(r) << 32 | r;
    }
    Arrays.sort(reads);
    return reads;
  }
}
