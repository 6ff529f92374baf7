package dev.weft.gpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DeviceOutOfMemoryException;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

class MemoryPoolTest {
  private static final long MIB = 1 << 20;

  /** A device of 100 MiB, whose handles are numbers. */
  private static final class Device implements MemoryPool.Source<Integer> {
    private final Map<Integer, Long> live = new HashMap<>();
    private int made;

    long used() {
      return live.values().stream().mapToLong(Long::longValue).sum();
    }

    @Override
    public @Nullable Integer allocate(long bytes) {
      if (used() + bytes > 100 * MIB) {
        return null;
      }
      live.put(++made, bytes);
      return made;
    }

    @Override
    public void free(Integer handle) {
      live.remove(handle);
    }

    @Override
    public DeviceOutOfMemoryException exhausted(long bytes) {
      return new DeviceOutOfMemoryException("test", bytes, 100 * MIB - used(), 100 * MIB);
    }
  }

  private final Device device = new Device();
  private final MemoryPool<Integer> pool = new MemoryPool<>(device);

  @Test
  void sizesAreRoundedUp() {
    assertEquals(512, MemoryPool.rounded(1));
    assertEquals(1024, MemoryPool.rounded(513));
    assertEquals(2 * MIB, MemoryPool.rounded(MIB));
    assertEquals(4 * MIB, MemoryPool.rounded(2 * MIB + 1));
    assertEquals(Long.MAX_VALUE, MemoryPool.rounded(Long.MAX_VALUE));
  }

  @Test
  void aFreedBlockServesRequestsOfNearlyItsSize() {
    MemoryPool.Block<Integer> block = pool.take(32 * MIB);
    pool.give(block);
    assertEquals(32 * MIB, pool.pooledBytes());
    MemoryPool.Block<Integer> half = pool.take(16 * MIB);
    assertNotEquals(block.handle(), half.handle(), "half of it would be wasted");
    MemoryPool.Block<Integer> again = pool.take(29 * MIB);
    assertSame(block.handle(), again.handle());
    assertEquals(32 * MIB, again.size());
    assertEquals(0, pool.pooledBytes());
  }

  @Test
  void wantOfMemoryEmptiesThePoolFirst() {
    pool.give(pool.take(60 * MIB));
    MemoryPool.Block<Integer> block = pool.take(90 * MIB);
    assertEquals(0, pool.pooledBytes());
    assertTrue(device.used() <= 100 * MIB);
    DeviceOutOfMemoryException e =
        assertThrows(DeviceOutOfMemoryException.class, () -> pool.take(20 * MIB));
    assertEquals(20 * MIB, e.needed());
    pool.give(block);
    pool.trim();
    assertEquals(0, device.used());
  }
}
