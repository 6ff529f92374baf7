package dev.weft;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.StringJoiner;

/**
 * The launches of a stream since its last good wait, which a late fault names. Guarded by the
 * stream's lock.
 */
final class LaunchLog {
  /** How many launches an error names; the rest is counted. */
  private static final int NAMED = 16;

  private final Deque<Entry> entries = new ArrayDeque<>();
  private long unnamed;
  private long newestUnnamed;

  private record Entry(long sequence, String name) {}

  void add(long sequence, String name) {
    if (entries.size() == NAMED) {
      newestUnnamed = entries.removeFirst().sequence;
      unnamed++;
    }
    entries.addLast(new Entry(sequence, name));
  }

  /** What was launched up to a sequence number was waited for. */
  void forget(long sequence) {
    entries.removeIf(entry -> entry.sequence <= sequence);
    if (newestUnnamed <= sequence) {
      unnamed = 0;
    }
  }

  /** Names what was launched up to a sequence number. */
  String upTo(long sequence) {
    StringJoiner names = new StringJoiner(", ");
    names.setEmptyValue("none");
    if (unnamed > 0) {
      names.add(unnamed + " earlier ones");
    }
    for (Entry entry : entries) {
      if (entry.sequence <= sequence) {
        names.add(entry.name);
      }
    }
    return names.toString();
  }
}
