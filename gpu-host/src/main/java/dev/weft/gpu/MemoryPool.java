package dev.weft.gpu;

import dev.weft.DeviceOutOfMemoryException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * Device memory kept for reuse when it is freed: freeing it at the driver may wait for the whole
 * device, and the api frees only what no launch uses any more, so a block can serve any stream at
 * once.
 *
 * <p>Sizes are rounded up, to 512 bytes below 1 MiB and to 2 MiB above, and a block serves requests
 * of at least seven eighths of its size. Safe for use by several threads.
 *
 * @param <B> the driver's handle of a block
 */
public final class MemoryPool<B> {
  private static final long SMALL = 512;
  private static final long LARGE = 2L << 20;

  private final Source<B> source;
  private final TreeMap<Long, Deque<B>> free = new TreeMap<>();
  private long pooled;

  /** The pool over a driver's own allocation. */
  public MemoryPool(Source<B> source) {
    this.source = source;
  }

  /**
   * Where blocks come from.
   *
   * @param <B> the driver's handle of a block
   */
  public interface Source<B> {
    /** Allocates; null if the device has too little memory left. */
    @Nullable B allocate(long bytes);

    /** Frees. */
    void free(B block);

    /** What to throw once the pool has been emptied in vain. */
    DeviceOutOfMemoryException exhausted(long bytes);
  }

  /**
   * A block in use.
   *
   * @param <B> the driver's handle of a block
   * @param handle the driver's handle
   * @param size its bytes, at least those asked for
   */
  public record Block<B>(B handle, long size) {}

  /** The size of the block that a request gets if none is free. */
  public static long rounded(long bytes) {
    long unit = bytes < (1 << 20) ? SMALL : LARGE;
    return bytes > Long.MAX_VALUE - unit ? bytes : (bytes + unit - 1) / unit * unit;
  }

  /**
   * Takes a block.
   *
   * @param bytes at least 1
   * @throws DeviceOutOfMemoryException if there is no room even after all free blocks were given
   *     back
   */
  public Block<B> take(long bytes) {
    long size = rounded(bytes);
    Block<B> block = takeFree(size);
    if (block != null) {
      return block;
    }
    B fresh = source.allocate(size);
    if (fresh == null) {
      trim();
      fresh = source.allocate(size);
    }
    if (fresh == null) {
      throw source.exhausted(bytes);
    }
    return new Block<>(fresh, size);
  }

  private synchronized @Nullable Block<B> takeFree(long size) {
    Map.Entry<Long, Deque<B>> fit = free.ceilingEntry(size);
    if (fit == null || fit.getKey() - size > fit.getKey() / 8) {
      return null;
    }
    long whole = fit.getKey();
    B handle = fit.getValue().pop();
    if (fit.getValue().isEmpty()) {
      free.remove(whole);
    }
    pooled -= whole;
    return new Block<>(handle, whole);
  }

  /** Takes a block back; no launch uses it any more. */
  public synchronized void give(Block<B> block) {
    free.computeIfAbsent(block.size(), size -> new ArrayDeque<>()).push(block.handle());
    pooled += block.size();
  }

  /** Bytes of the free blocks. */
  public synchronized long pooledBytes() {
    return pooled;
  }

  /** Gives all free blocks back to the driver. */
  public void trim() {
    List<B> blocks = new ArrayList<>();
    synchronized (this) {
      free.values().forEach(blocks::addAll);
      free.clear();
      pooled = 0;
    }
    blocks.forEach(source::free);
  }
}
