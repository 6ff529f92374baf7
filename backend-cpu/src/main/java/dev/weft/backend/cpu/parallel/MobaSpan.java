package dev.weft.backend.cpu.parallel;

import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;

/**
 * Keys and values of a part of a block, widened and dense, so that they stay in the second-level
 * cache while query rows stream past. Positions whose page is out of range are left out. Used for
 * one sequence after another by one thread.
 */
final class MobaSpan {
  /** Positions of a span at most: at D = 128 keys and values take 512 KiB. */
  static final int MOST_KEYS = 512;

  /** Keys that scores are computed with at once: a panel of scores takes 32 KiB. */
  static final int TILE = 128;

  // Rows a power of two apart would all fall into the same few sets of the cache.
  private static final int PADDING = 16;

  private static final int KEYS = 0;
  private static final int VALUES = 1;

  // Of integers, beyond those of MobaRows.
  private static final int SEEN = 9;

  private final MobaAttentionSpec spec;
  private final Arithmetic arithmetic;
  private final int[] seen;
  final int keyPitch;
  final int valuePitch;
  final float[] k;
  final float[] v;

  private MobaSequence sequence;
  private int kvHead;
  private int start;
  private int loaded;
  private int keys;
  private boolean finite;
  private boolean checked;

  /**
   * Makes a span that holds nothing yet.
   *
   * @param first any sequence
   */
  MobaSpan(
      MobaAttentionSpec spec,
      Arithmetic arithmetic,
      TaskScratch scratch,
      MobaSequence first,
      int mostKeys) {
    this.spec = spec;
    this.arithmetic = arithmetic;
    sequence = first;
    int most = Math.min(mostKeys, spec.blockSize());
    seen = scratch.ints(SEEN, most + 1);
    keyPitch = spec.headDim() + PADDING;
    valuePitch = spec.valueDim() + PADDING;
    k = scratch.floats(KEYS, most * keyPitch + Arithmetic.SLACK);
    v = scratch.floats(VALUES, most * valuePitch + Arithmetic.SLACK);
  }

  /** Says whose keys to load from now on. */
  void of(MobaSequence some, int head) {
    // Sequences are told apart by their first rows, which no two share.
    if (some.firstRow() != sequence.firstRow() || head != kvHead) {
      sequence = some;
      kvHead = head;
      loaded = 0;
    }
  }

  /** Loads positions, unless they are there from the last time. */
  void load(int from, int count) {
    if (loaded >= count && start == from) {
      return;
    }
    start = from;
    loaded = count;
    keys = 0;
    checked = false;
    Elements keyRows = sequence.keyRows();
    Elements valueRows = sequence.valueRows();
    for (int i = 0; i < count; i++) {
      seen[i] = keys;
      long key = sequence.keyOffset(from + i, kvHead);
      if (key >= 0) {
        arithmetic.read(
            keyRows.dataType(), keyRows.segment(), key, k, keys * keyPitch, spec.headDim());
        arithmetic.read(
            valueRows.dataType(),
            valueRows.segment(),
            sequence.valueOffset(from + i, kvHead),
            v,
            keys * valuePitch,
            spec.valueDim());
        keys++;
      }
    }
    seen[count] = keys;
  }

  /** How many keys are there. */
  int keys() {
    return keys;
  }

  /** How many keys lie at or before a position. */
  int seenFrom(int position) {
    return position < start ? 0 : seen[Math.min(loaded, position - start + 1)];
  }

  /** Whether all keys and values are finite: 0 times another is not 0. */
  boolean isFinite() {
    if (!checked) {
      finite = true;
      for (int key = 0; key < keys; key++) {
        finite &= isFinite(k, key * keyPitch, spec.headDim());
        finite &= isFinite(v, key * valuePitch, spec.valueDim());
      }
      checked = true;
    }
    return finite;
  }

  static boolean isFinite(float[] values, int from, int count) {
    float largest = 0;
    for (int i = from; i < from + count; i++) {
      largest = Math.max(largest, Math.abs(values[i])); // NaN stays
    }
    return largest <= Float.MAX_VALUE;
  }
}
