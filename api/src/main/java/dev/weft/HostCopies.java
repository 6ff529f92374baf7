package dev.weft;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;

/**
 * Copies from staging memory to segments that a device cannot fill itself, due once their downloads
 * are done. Guarded by the stream's lock.
 */
final class HostCopies {
  private final List<HostCopy> pending = new ArrayList<>();

  private record HostCopy(
      long sequence, MemorySegment staged, MemorySegment target, Lifetime staging) {}

  void add(long sequence, MemorySegment staged, MemorySegment target, Lifetime staging) {
    pending.add(new HostCopy(sequence, staged, target, staging));
  }

  /** The downloads up to a sequence number are done: copies, if they went well. */
  void settle(long sequence, boolean good) {
    RuntimeException failure = null;
    for (Iterator<HostCopy> it = pending.iterator(); it.hasNext(); ) {
      HostCopy copy = it.next();
      if (copy.sequence > sequence) {
        continue;
      }
      it.remove();
      try {
        if (good) {
          copy.target.copyFrom(copy.staged);
        }
      } catch (RuntimeException e) {
        failure = e; // such as the segment's arena being closed: the other copies are still due
      } finally {
        copy.staging.close();
      }
    }
    if (failure != null) {
      throw failure;
    }
  }
}
