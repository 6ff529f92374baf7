package dev.weft;

import static dev.weft.fake.Messages.assertMentions;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.fake.FakeProvider;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Views share memory, and the api knows which of them share a byte. */
class TensorViewTest {
  private final FakeProvider provider = new FakeProvider().capacity(1 << 24);
  private final Device device = provider.open();

  @AfterEach
  void theApiUsedTheBackendWell() {
    device.close();
    assertEquals(List.of(), provider.device().violations());
  }

  /** An I32 tensor that holds its own row-major indices. */
  private Tensor counting(long... shape) {
    int n = (int) Arrays.stream(shape).reduce(1, (a, b) -> a * b);
    return device.upload(HostTensor.ofInts(IntStream.range(0, n).toArray(), shape));
  }

  private static int[] values(Tensor tensor) {
    return tensor.download().toInts();
  }

  @Test
  void aSliceIsARange() {
    Tensor t = counting(3, 4);
    assertArrayEquals(new int[] {4, 5, 6, 7, 8, 9, 10, 11}, values(t.slice(0, 1, 3)));
    Tensor columns = t.slice(-1, 1, 3);
    assertArrayEquals(new int[] {1, 2, 5, 6, 9, 10}, values(columns));
    assertArrayEquals(new long[] {3, 2}, columns.shape());
    assertArrayEquals(new long[] {4, 1}, columns.strides());
    assertEquals(4, columns.byteOffset());
    assertFalse(columns.isContiguous());
    assertArrayEquals(new int[] {10}, values(t.slice(0, 2, 3).slice(1, 2, 3)));
    assertEquals(0, t.slice(0, 3, 3).elements());
    assertEquals(0, values(t.slice(1, 2, 2)).length);
    for (long[] bad : new long[][] {{-1, 2}, {2, 1}, {0, 4}}) {
      assertMentions(
          assertThrows(IllegalArgumentException.class, () -> t.slice(0, bad[0], bad[1])),
          "0..3",
          bad[0] + ".." + bad[1]);
    }
    assertMentions(
        assertThrows(IllegalArgumentException.class, () -> t.slice(2, 0, 1)), "i32[3, 4]", "2");
    assertThrows(IllegalArgumentException.class, () -> t.size(-3));
  }

  @Test
  void selectDropsADimension() {
    Tensor t = counting(2, 3, 2);
    assertArrayEquals(new int[] {6, 7, 8, 9, 10, 11}, values(t.select(0, 1)));
    assertArrayEquals(new int[] {2, 3, 8, 9}, values(t.select(1, 1)));
    assertArrayEquals(new int[] {1, 3, 5, 7, 9, 11}, values(t.select(-1, 1)));
    Tensor one = t.select(0, 1).select(0, 2).select(0, 0);
    assertEquals(0, one.rank());
    assertArrayEquals(new int[] {10}, values(one));
    assertThrows(IllegalArgumentException.class, () -> t.select(0, 2));
    assertThrows(IllegalArgumentException.class, () -> one.select(0, 0));
  }

  @Test
  void transposeSwapsTwoDimensions() {
    Tensor t = counting(2, 3).transpose(0, 1);
    assertArrayEquals(new long[] {3, 2}, t.shape());
    assertEquals(1, t.stride(0));
    assertArrayEquals(new int[] {0, 3, 1, 4, 2, 5}, values(t));
    assertArrayEquals(values(t), values(t.transpose(0, 0)));
  }

  @Test
  void reshapeSplitsAndMergesWhereThatNeedsNoCopy() {
    Tensor t = counting(4, 6);
    assertArrayEquals(new long[] {2, 2, 3, 2}, t.reshape(2, 2, 3, 2).shape());
    assertArrayEquals(values(t), values(t.reshape(24)));
    assertEquals(0, t.slice(0, 0, 0).reshape(3, 0, 5).elements());
    Tensor columns = t.slice(1, 0, 4); // rows of 4, pitch 6
    assertArrayEquals(new long[] {12, 6, 2, 1}, columns.reshape(2, 2, 2, 2).strides());
    assertArrayEquals(values(columns), values(columns.reshape(2, 2, 2, 2)));
    assertArrayEquals(values(columns), values(columns.reshape(2, 2, 2, 2).reshape(4, 1, 4)));
    assertArrayEquals(new long[] {2, 2, 1, 4, 1}, columns.reshape(2, 2, 1, 4, 1).shape());
    assertThrows(IllegalArgumentException.class, () -> columns.reshape(16));
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> columns.reshape(8, 2));
    assertMentions(e, "i32[4, 4]", "[6, 1]", "i32[8, 2]", "without a copy");
    assertThrows(IllegalArgumentException.class, () -> t.transpose(0, 1).reshape(24));
    assertMentions(
        assertThrows(IllegalArgumentException.class, () -> t.reshape(5, 5)), "as many elements");
    assertThrows(IllegalArgumentException.class, () -> t.reshape(-4, -6));
  }

  @Test
  void reshapeLooksThroughExtentsOfOne() {
    Tensor t = counting(2, 4, 3).slice(1, 0, 1); // [2, 1, 3], pitches 12, 3, 1
    assertArrayEquals(new int[] {0, 1, 2, 12, 13, 14}, values(t.reshape(2, 3)));
    assertArrayEquals(new int[] {0, 1, 2, 12, 13, 14}, values(t.reshape(1, 2, 1, 3, 1)));
    Tensor every = counting(6, 2).slice(1, 0, 1); // [6, 1], pitch 2
    assertArrayEquals(new int[] {0, 2, 4, 6, 8, 10}, values(every.reshape(6)));
    Tensor between = every.reshape(3, 2).reshape(3, 1, 2);
    assertArrayEquals(new int[] {0, 2, 4, 6, 8, 10}, values(between.reshape(6)));
    // The pitch of an extent of one is anything: it must not stop the merge of its neighbours.
    Tensor odd = counting(3, 5, 2).transpose(0, 1).slice(0, 4, 5).transpose(0, 1); // [3, 1, 2]
    assertEquals(6, odd.reshape(3, 2).elements());
  }

  @Test
  void anEmptyViewWithAnyStridesCanBeReshaped() {
    Tensor empty = counting(4, 6).slice(1, 0, 4).slice(0, 2, 2);
    assertTrue(empty.isContiguous());
    assertEquals(0, empty.reshape(4, 0).elements());
    assertEquals(0, empty.reshape(0).elements());
  }

  @Test
  void sizesThatOverflowAreRefusedBeforeAnythingIsAllocated() {
    long used = provider.device().used();
    for (long[] shape :
        new long[][] {
          {1L << 62, 2},
          {1L << 61},
          {Long.MAX_VALUE},
          {0, Long.MAX_VALUE, 2},
          {Long.MAX_VALUE, 4, 0},
          {3037000500L, 3037000500L}
        }) {
      assertMentions(
          assertThrows(IllegalArgumentException.class, () -> device.allocate(DataType.F32, shape)),
          "2^63",
          Arrays.toString(shape));
    }
    assertThrows(IllegalArgumentException.class, () -> device.allocate(DataType.F32, 2, -1));
    assertEquals(used, provider.device().used());
  }

  @Test
  void arithmeticIs64Bit() {
    long[] shape = {1L << 20, 1L << 20};
    long[] strides = Shapes.rowMajorStrides(shape);
    assertEquals(1L << 40, Shapes.elements(shape));
    assertEquals(1L << 42, Shapes.bytes(DataType.F32, shape));
    assertEquals(1L << 40, Shapes.span(shape, strides));
    assertTrue(Shapes.mayOverlap(0, shape, strides, 4, (1L << 42) - 4, shape, strides, 4));
    assertFalse(Shapes.mayOverlap(0, shape, strides, 4, 1L << 42, shape, strides, 4));
  }

  @Test
  void partsOfOnePackedTensorDoNotOverlap() {
    Tensor qkv = device.allocate(DataType.BF16, 7, 3, 4, 8);
    assertDisjoint(qkv.select(1, 0), qkv.select(1, 1), qkv.select(1, 2));
    Tensor flat = device.allocate(DataType.BF16, 7, (4 + 2 + 2) * 8);
    assertDisjoint(
        flat.slice(1, 0, 32).reshape(7, 4, 8),
        flat.slice(1, 32, 48).reshape(7, 2, 8),
        flat.slice(1, 48, 64).reshape(7, 2, 8));
    Tensor interleaved = device.allocate(DataType.F32, 7, 4, 8);
    assertDisjoint(interleaved.slice(2, 0, 5), interleaved.slice(2, 5, 8));
    Tensor pairs = device.allocate(DataType.F32, 7, 8, 2);
    assertDisjoint(pairs.select(2, 0), pairs.select(2, 1));
    Tensor caches = device.allocate(DataType.F16, 5, 2, 4, 3, 8); // pages, k and v
    assertDisjoint(caches.select(1, 0), caches.select(1, 1));
    Tensor rows = device.allocate(DataType.F32, 10, 6);
    assertDisjoint(rows.slice(0, 0, 4), rows.slice(0, 4, 10));
    assertDisjoint(
        rows.slice(0, 0, 4).slice(1, 2, 4), rows.slice(0, 4, 10).slice(1, 2, 4), rows.select(1, 5));
    // One head of some rows beside other heads of all rows: the dimensions merge differently.
    assertDisjoint(
        interleaved.slice(1, 0, 2).slice(2, 0, 5),
        interleaved.slice(2, 5, 8),
        interleaved.slice(1, 2, 4).slice(2, 0, 5));
    assertDisjoint(rows.select(0, 3).slice(0, 0, 3), rows.slice(1, 3, 6));
  }

  private static void assertDisjoint(Tensor... parts) {
    for (int i = 0; i < parts.length; i++) {
      for (int j = 0; j < parts.length; j++) {
        assertEquals(i == j, parts[i].mayOverlap(parts[j]), i + ", " + j);
      }
    }
  }

  @Test
  void whatSharesAByteOverlaps() {
    Tensor qkv = device.allocate(DataType.F32, 7, 24);
    assertTrue(qkv.slice(1, 0, 9).mayOverlap(qkv.slice(1, 8, 16)));
    assertTrue(qkv.select(0, 6).mayOverlap(qkv.select(1, 23)));
    assertTrue(qkv.mayOverlap(qkv.select(0, 3).select(0, 3)));
    assertTrue(qkv.transpose(0, 1).mayOverlap(qkv));
    assertFalse(qkv.mayOverlap(device.allocate(DataType.F32, 7, 24)), "other memory");
    assertFalse(qkv.slice(0, 2, 2).mayOverlap(qkv), "empty");
  }

  /** The bytes that a view touches, one by one. */
  private static BitSet bytes(Tensor tensor) {
    BitSet bytes = new BitSet();
    mark(bytes, tensor, 0, tensor.byteOffset());
    return bytes;
  }

  private static void mark(BitSet bytes, Tensor tensor, int dimension, long at) {
    int size = tensor.dataType().bytes();
    if (dimension == tensor.rank()) {
      bytes.set((int) at, (int) at + size);
      return;
    }
    for (long i = 0; i < tensor.size(dimension); i++) {
      mark(bytes, tensor, dimension + 1, at + i * tensor.stride(dimension) * size);
    }
  }

  private static @Nullable Tensor randomView(Random random, Tensor tensor, boolean reshape) {
    Tensor view = tensor;
    for (int step = random.nextInt(5); step > 0; step--) {
      int d = view.rank() == 0 ? -1 : random.nextInt(view.rank());
      if (d < 0 || view.size(d) == 0) {
        return null;
      }
      int size = (int) view.size(d);
      switch (random.nextInt(reshape ? 4 : 2)) {
        case 0 -> {
          int from = random.nextInt(size);
          view = view.slice(d, from, from + 1 + random.nextInt(size - from));
        }
        case 1 -> view = view.rank() > 1 ? view.select(d, random.nextInt(size)) : view;
        case 2 -> view = view.transpose(d, random.nextInt(view.rank()));
        default -> {
          try {
            view = view.reshape(view.elements());
          } catch (IllegalArgumentException e) {
            // it would need a copy
          }
        }
      }
    }
    return view;
  }

  @Test
  void noOverlapIsEverMissedWhateverTheViews() {
    Random random = new Random(1);
    int overlapping = 0;
    int falseAlarms = 0;
    int disjoint = 0;
    for (int round = 0; round < 1500; round++) {
      int rank = 1 + random.nextInt(4);
      long[] shape = random.longs(rank, 1, 6).toArray();
      DataType type = random.nextBoolean() ? DataType.F32 : DataType.U8;
      try (Tensor memory = device.allocate(type, shape)) {
        List<Tensor> views = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
          Tensor view = randomView(random, memory, true);
          if (view != null) {
            views.add(view);
          }
        }
        for (Tensor a : views) {
          for (Tensor b : views) {
            boolean truth = bytes(a).intersects(bytes(b));
            boolean said = a.mayOverlap(b);
            if (truth) {
              overlapping++;
              assertTrue(said, () -> describe(a) + " and " + describe(b));
            } else {
              disjoint++;
              falseAlarms += said ? 1 : 0;
            }
          }
        }
      }
    }
    assertTrue(overlapping > 1000 && disjoint > 1000);
    assertTrue(falseAlarms < disjoint / 20, falseAlarms + " false alarms of " + disjoint);
  }

  private static String describe(Tensor tensor) {
    return tensor + "/" + Arrays.toString(tensor.strides()) + "@" + tensor.byteOffset();
  }

  @Test
  void boxesOfOneTensorAreToldApartExactly() {
    Random random = new Random(2);
    for (int round = 0; round < 3000; round++) {
      int rank = 1 + random.nextInt(4);
      long[] shape = random.longs(rank, 1, 6).toArray();
      try (Tensor memory = device.allocate(DataType.BF16, shape)) {
        Tensor a = box(random, memory);
        Tensor b = box(random, memory);
        assertEquals(
            bytes(a).intersects(bytes(b)),
            a.mayOverlap(b),
            () -> memory + ": " + describe(a) + " and " + describe(b));
      }
    }
  }

  private static Tensor box(Random random, Tensor memory) {
    Tensor box = memory;
    for (int d = 0; d < memory.rank(); d++) {
      int size = (int) memory.size(d);
      int from = random.nextInt(size);
      box = box.slice(d, from, from + 1 + random.nextInt(size - from));
    }
    return box;
  }

  @Test
  void reshapeEqualsTheCopyOrIsRefusedRightly() {
    Random random = new Random(3);
    int refused = 0;
    for (int round = 0; round < 2000; round++) {
      long[] shape = random.longs(1 + random.nextInt(3), 1, 5).toArray();
      try (Tensor memory = counting(shape)) {
        Tensor view = randomView(random, memory, false);
        if (view == null) {
          continue;
        }
        int[] values = values(view);
        long[] target = randomShape(random, view.elements());
        try {
          assertArrayEquals(values, values(view.reshape(target)));
        } catch (IllegalArgumentException e) {
          refused++;
          assertFalse(view.isContiguous());
        }
      }
    }
    assertTrue(refused > 20, "" + refused);
  }

  private static long[] randomShape(Random random, long elements) {
    List<Long> shape = new ArrayList<>();
    long rest = elements;
    while (rest > 1) {
      long factor = random.nextLong(1, rest + 1);
      if (rest % factor == 0) {
        shape.add(factor);
        rest /= factor;
      }
    }
    return shape.stream().mapToLong(Long::longValue).toArray();
  }
}
