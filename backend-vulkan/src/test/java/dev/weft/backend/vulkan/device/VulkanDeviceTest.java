package dev.weft.backend.vulkan.device;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DeviceOutOfMemoryException;
import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.backend.vulkan.PresentDevice;
import dev.weft.backend.vulkan.driver.DeviceProperties;
import dev.weft.backend.vulkan.driver.NotUsableException;
import dev.weft.backend.vulkan.driver.Vulkan;
import dev.weft.backend.vulkan.shaders.PipelineCacheFile;
import dev.weft.backend.vulkan.shaders.ShaderLibrary;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.Region;
import dev.weft.interop.VulkanInterop;
import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendGraph;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The runtime on the device of this machine, with kernels of the tests' own. */
class VulkanDeviceTest {
  private static final KernelName SCALE = KernelName.of("test/scale", "scale").with("FACTOR", 3);
  private static final int COUNT = 1000;

  private ComputeDevice device;
  private ComputeStream stream;

  @BeforeEach
  void open() throws NotUsableException {
    PresentDevice.required();
    Vulkan vulkan = Vulkan.open();
    DeviceProperties properties = vulkan.devices().getFirst();
    device =
        VulkanDevice.open(
            new Nothing(),
            vulkan,
            properties,
            0,
            ShaderLibrary.in(PresentDevice.class, "/dev/weft/backend/vulkan/test"),
            PipelineCacheFile.ofUser(properties));
    stream = (ComputeStream) device.newStream();
  }

  /** No operations. */
  private static final class Nothing implements Operations {
    @Override
    public Support supports(ComputeTraits traits, OperationSpec<?> spec) {
      return Support.no("none");
    }

    @Override
    public BackendKernel prepare(ComputeDevice device, OperationSpec<?> spec) {
      throw new IllegalArgumentException("none");
    }
  }

  @AfterEach
  void close() {
    if (device != null) { // null where the test was skipped
      stream.close();
      device.close();
    }
  }

  private void scale(BackendMemory x, BackendMemory y, float shift) {
    scale(stream, device.kernel(SCALE), x, y, shift);
  }

  private static void scale(
      ComputeStream to, ComputeKernel kernel, BackendMemory x, BackendMemory y, float shift) {
    to.arguments()
        .region(new Region(x, 4))
        .region(new Region(y, 0))
        .value((long) COUNT)
        .value(1)
        .value(shift);
    to.dispatch(kernel, (COUNT + 63) / 64, 1, 1, 64);
  }

  private static MemorySegment ramp(Arena arena) {
    MemorySegment values = arena.allocate(4L * COUNT + 4, 64);
    for (int i = 0; i <= COUNT; i++) {
      values.setAtIndex(ValueLayout.JAVA_FLOAT, i, i - 1);
    }
    return values;
  }

  private static float at(MemorySegment values, int index) {
    return values.getAtIndex(ValueLayout.JAVA_FLOAT, index);
  }

  @Test
  void dispatchesRunInOrderWithTheirArguments() {
    try (Arena arena = Arena.ofConfined();
        BackendMemory x = device.allocate(4L * COUNT + 4);
        BackendMemory y = device.allocate(4L * COUNT)) {
      MemorySegment out = arena.allocate(4L * COUNT, 64);
      stream.upload(ramp(arena), x, 0);
      scale(x, y, 0.5f);
      stream.arguments().region(new Region(y, 8)).value(2L);
      stream.dispatch(device.kernel(KernelName.of("test/scale", "squares")), 1, 1, 1, 64);
      stream.fill(y, 4L * 999, 4, (byte) 0);
      stream.copy(y, 4L * 2, y, 4L * 500, 4);
      stream.download(y, 0, out);
      stream.synchronize();
      assertEquals(3 * 1 + 0.5f, at(out, 1));
      assertEquals(6.5f * 6.5f, at(out, 2));
      assertEquals(9.5f * 9.5f, at(out, 3));
      assertEquals(3 * 4 + 0.5f, at(out, 4));
      assertEquals(6.5f * 6.5f, at(out, 500));
      assertEquals(0, at(out, 999));
    }
  }

  @Test
  void aLaunchIsInOrderButForWhatIsSaidToBeIndependent() {
    try (Arena arena = Arena.ofConfined();
        BackendMemory x = device.allocate(4L * COUNT + 4);
        BackendMemory y = device.allocate(4L * COUNT);
        BackendMemory z = device.allocate(4L * COUNT)) {
      MemorySegment out = arena.allocate(4L * COUNT, 64);
      KernelName squares = KernelName.of("test/scale", "squares");
      stream.upload(ramp(arena), x, 0);
      stream.beginLaunch();
      scale(x, y, 0.5f);
      stream.independent();
      scale(x, z, 1.5f);
      stream.arguments().region(new Region(y, 0)).value((long) COUNT);
      stream.dispatch(device.kernel(squares), (COUNT + 63) / 64, 1, 1, 64);
      stream.endLaunch();
      stream.beginLaunch();
      stream.endLaunch(); // of nothing
      stream.download(y, 0, out);
      stream.synchronize();
      assertEquals(9.5f * 9.5f, at(out, 3));
      stream.download(z, 0, out);
      stream.synchronize();
      assertEquals(10.5f, at(out, 3));
    }
  }

  @Test
  void noRegionIsANullPointerAndNoGroupIsNoDispatch() {
    try (Arena arena = Arena.ofConfined();
        BackendMemory y = device.allocate(64)) {
      MemorySegment out = arena.allocate(64, 64);
      ComputeKernel kernel = device.kernel(SCALE);
      stream.fill(y, 0, 64, (byte) 0);
      stream.arguments().region(null).region(new Region(y, 4)).value(8L).value(1).value(1f);
      stream.dispatch(kernel, 1, 1, 1, 64);
      stream.dispatch(kernel, 0, 1, 1, 64);
      stream.dispatch(kernel, 1, 0, 1, 64);
      stream.dispatch(kernel, 1, 1, 0, 64);
      stream.download(y, 0, out);
      stream.synchronize();
      assertEquals(0, at(out, 0));
      assertEquals(4, at(out, 1));
      assertEquals(4, at(out, 8));
      assertEquals(0, at(out, 9));
      assertThrows(
          IllegalArgumentException.class,
          () -> stream.dispatch(kernel, 1, 1, 1, kernel.mostGroupSize() - 1));
    }
  }

  @Test
  void aFillHasAnySizeAndPlace() {
    try (Arena arena = Arena.ofConfined();
        BackendMemory y = device.allocate(256)) {
      MemorySegment out = arena.allocate(256);
      for (int[] range : new int[][] {{0, 256}, {16, 48}, {8, 24}, {4, 4}, {3, 7}, {250, 6}}) {
        stream.fill(y, 0, 256, (byte) 1);
        stream.fill(y, range[0], range[1], (byte) 0xa5);
        stream.download(y, 0, out);
        stream.synchronize();
        for (int i = 0; i < 256; i++) {
          boolean inside = i >= range[0] && i < range[0] + range[1];
          assertEquals(
              inside ? (byte) 0xa5 : (byte) 1, out.get(ValueLayout.JAVA_BYTE, i), "byte " + i);
        }
      }
    }
  }

  @Test
  void aGraphOfTheDeviceAloneIsLaunchedManyTimesByManyStreams() {
    KernelName many = KernelName.of("test/scale", "many").with("WIDE", 1);
    try (Arena arena = Arena.ofConfined();
        BackendMemory y = device.allocate(256)) {
      MemorySegment out = arena.allocate(256, 64);
      ComputeKernel kernel = device.kernel(many);
      stream.beginCapture();
      stream.fill(y, 0, 255, (byte) 0);
      Arguments arguments = stream.arguments().region(new Region(y, 0)).value(1).value(20L);
      arguments.value(0.5f).value(300L).value(4).value(5).value(6);
      for (long i = 0; i < 8; i++) {
        arguments.value(i);
      }
      arguments.value(2f);
      stream.dispatch(kernel, 1, 1, 1, 64);
      stream.copy(y, 0, y, 128, 4);
      try (BackendGraph graph = stream.endCapture();
          BackendStream other = device.newStream()) {
        assertEquals(3, graph.nodes().orElseThrow());
        for (int i = 0; i < 5; i++) {
          stream.fill(y, 0, 256, (byte) 9);
          stream.launch(graph);
          stream.launch(graph);
          BackendStream last = i % 2 == 0 ? stream : other;
          other.await(stream.record());
          last.launch(graph);
          last.download(y, 0, out);
          last.synchronize();
          assertEquals(1 + 20 + 0.5f + 300 + 4 + 5 + 6 + 28 + 2 + 1, at(out, 0));
          assertEquals(at(out, 0), at(out, 32));
          assertEquals(9, out.get(ValueLayout.JAVA_BYTE, 255));
        }
        stream.synchronize();
        other.synchronize();
      }
    }
  }

  @Test
  void aGraphDoesAgainWhatWasRecorded() {
    try (Arena arena = Arena.ofConfined();
        BackendMemory x = device.allocate(4L * COUNT + 4);
        BackendMemory y = device.allocate(4L * COUNT)) {
      MemorySegment in = ramp(arena);
      MemorySegment out = arena.allocate(4L * COUNT, 64);
      stream.fill(y, 0, 4L * COUNT, (byte) 0);
      stream.beginCapture();
      stream.upload(in, x, 0);
      scale(x, y, 1f);
      scale(x, y, 2f); // of the same kernel, with other arguments
      stream.download(y, 0, out);
      try (BackendGraph graph = stream.endCapture();
          BackendStream other = device.newStream()) {
        assertEquals(4, graph.nodes().orElseThrow());
        stream.synchronize();
        assertEquals(0, at(out, 7), "nothing was done yet");
        stream.launch(graph);
        stream.synchronize();
        assertEquals(3 * 7 + 2f, at(out, 7));
        in.setAtIndex(ValueLayout.JAVA_FLOAT, 8, 100);
        other.launch(graph);
        other.synchronize();
        assertEquals(302f, at(out, 7));
      }
    }
  }

  @Test
  void eventsOrderStreamsAndTellTime() {
    try (Arena arena = Arena.ofConfined();
        BackendStream other = device.newStream();
        BackendMemory x = device.allocate(4L * COUNT + 4);
        BackendMemory y = device.allocate(4L * COUNT)) {
      MemorySegment out = arena.allocate(4L * COUNT, 64);
      try (BackendEvent start = stream.record()) {
        stream.upload(ramp(arena), x, 0);
        scale(x, y, 0f);
        try (BackendEvent end = stream.record()) {
          other.await(end);
          other.download(y, 0, out);
          other.synchronize();
          assertEquals(3 * 9, at(out, 9));
          assertTrue(end.isComplete());
          end.synchronize();
          assertTrue(end.nanosSince(start) > 0);
        }
      }
    }
  }

  @Test
  void oneKernelServesManyStreams() throws Exception {
    ComputeKernel kernel = device.kernel(SCALE);
    List<Future<Boolean>> results = new ArrayList<>();
    try (ExecutorService pool = Executors.newFixedThreadPool(4)) {
      for (int n = 0; n < 4; n++) {
        float shift = n;
        results.add(
            pool.submit(() -> {
              boolean right = true;
              try (Arena arena = Arena.ofConfined();
                  ComputeStream own = (ComputeStream) device.newStream();
                  BackendMemory x = device.allocate(4L * COUNT + 4);
                  BackendMemory y = device.allocate(4L * COUNT)) {
                MemorySegment out = arena.allocate(4L * COUNT, 64);
                own.upload(ramp(arena), x, 0);
                for (int i = 0; i < 50; i++) {
                  scale(own, kernel, x, y, shift + i);
                  own.download(y, 0, out);
                  own.synchronize();
                  right &= at(out, 10) == 30 + shift + i;
                }
              }
              return right;
            }));
      }
    }
    for (Future<Boolean> result : results) {
      assertTrue(result.get());
    }
  }

  @Test
  void tooMuchMemoryIsOutOfMemoryAtOnce() {
    DeviceOutOfMemoryException e =
        assertThrows(DeviceOutOfMemoryException.class, () -> device.allocate(1L << 46));
    assertEquals(1L << 46, e.needed());
    assertTrue(e.limit() > 0);
  }

  @Test
  void freedMemoryIsPooledAndTrimmed() {
    device.trim();
    device.allocate(3 << 20).close();
    assertEquals(4 << 20, device.pooledBytes());
    device.allocate(4 << 20).close();
    assertEquals(4 << 20, device.pooledBytes());
    device.trim();
    assertEquals(0, device.pooledBytes());
  }

  @Test
  void hostMemoryTransfers() {
    try (BackendHostMemory host = device.allocateHost(4096);
        BackendMemory x = device.allocate(4096)) {
      host.segment().fill((byte) 3);
      stream.upload(host.segment(), x, 0);
      stream.synchronize();
      host.segment().fill((byte) 0);
      stream.download(x, 0, host.segment());
      stream.synchronize();
      assertEquals(3, host.segment().get(ValueLayout.JAVA_BYTE, 4095));
    }
  }

  @Test
  void manyArgumentsLieInMemory() {
    try (Arena arena = Arena.ofConfined();
        BackendMemory y = device.allocate(64)) {
      MemorySegment out = arena.allocate(4, 64);
      stream.arguments().region(new Region(y, 8)).value(1).value(2L).value(0.5f).value(3L);
      // The last block counts: arguments() starts anew.
      Arguments many =
          stream.arguments().region(new Region(y, 8)).value(1).value(2L).value(0.5f).value(3L);
      many.value(4).value(5).value(6);
      for (long n = 7; n < 15; n++) {
        many.value(n);
      }
      many.value(0.25f);
      stream.dispatch(
          device.kernel(KernelName.of("test/scale", "many").with("WIDE", 1)), 1, 1, 1, 64);
      stream.download(y, 8, out);
      stream.synchronize();
      assertEquals(1 + 2 + 3 + 4 + 5 + 6 + (7 + 14) * 4 + 0.75f + 1, at(out, 0));
    }
  }

  @Test
  void moreGroupsThanTheDeviceTakesAtOnceRunInPieces() {
    int groups = 200_001;
    try (Arena arena = Arena.ofConfined();
        BackendMemory y = device.allocate(2L * groups)) {
      MemorySegment out = arena.allocate(2L * groups, 64);
      stream.fill(y, 0, 2L * groups, (byte) 0);
      stream.arguments().region(new Region(y, 0));
      stream.dispatch(device.kernel(KernelName.of("test/scale", "numbers")), groups, 1, 1, 64);
      stream.download(y, 0, out);
      stream.synchronize();
      for (int i = 0; i < groups; i++) {
        assertEquals(1, out.getAtIndex(ValueLayout.JAVA_SHORT, i), "group " + i);
      }
    }
  }

  @Test
  void anUploadWaitsForTheDownloadThatItReads() {
    try (Arena arena = Arena.ofConfined();
        BackendMemory x = device.allocate(4096);
        BackendMemory y = device.allocate(4096)) {
      MemorySegment between = arena.allocate(4096, 64);
      MemorySegment out = arena.allocate(4096, 64);
      stream.fill(x, 0, 4096, (byte) 7);
      stream.download(x, 0, between);
      stream.upload(between, y, 0);
      stream.download(y, 0, out);
      stream.synchronize();
      assertEquals(7, out.get(ValueLayout.JAVA_BYTE, 4095));

      stream.beginCapture();
      stream.fill(x, 0, 4096, (byte) 9);
      stream.download(x, 0, between);
      stream.upload(between, y, 0);
      stream.download(y, 0, out);
      try (BackendGraph graph = stream.endCapture()) {
        stream.launch(graph);
        stream.synchronize();
        assertEquals(9, out.get(ValueLayout.JAVA_BYTE, 4095));
      }
    }
  }

  @Test
  void longTransfersGoInPieces() {
    long bytes = (96L << 20) + 12;
    try (Arena arena = Arena.ofConfined();
        BackendMemory x = device.allocate(bytes)) {
      MemorySegment in = arena.allocate(bytes, 64);
      MemorySegment out = arena.allocate(bytes, 64);
      for (long i = 0; i < bytes; i += 4) {
        in.set(ValueLayout.JAVA_INT, i, (int) (i * 31));
      }
      stream.upload(in, x, 0);
      stream.download(x, 0, out);
      stream.synchronize();
      assertEquals(-1, in.mismatch(out));
    }
  }

  @Test
  void downloadsArriveWhoeverWaits() {
    try (Arena arena = Arena.ofConfined();
        BackendStream other = device.newStream();
        BackendMemory x = device.allocate(64)) {
      MemorySegment out = arena.allocate(64, 64);
      stream.fill(x, 0, 64, (byte) 5);
      stream.download(x, 0, out);
      try (BackendEvent done = stream.record()) {
        other.await(done);
        other.synchronize();
        assertEquals(5, out.get(ValueLayout.JAVA_BYTE, 63));
        assertTrue(done.isComplete());
      }
    }
  }

  @Test
  void eventsOutliveTheirStream() {
    BackendEvent event;
    try (BackendStream other = device.newStream()) {
      event = other.record();
      other.synchronize();
    }
    try (event;
        BackendStream next = device.newStream()) {
      next.await(event);
      next.synchronize();
      assertTrue(event.isComplete());
    }
  }

  @Test
  void buffersAreShared() {
    VulkanInterop interop = device.extension(VulkanInterop.class).orElseThrow();
    assertNotEquals(0, interop.device());
    assertNotEquals(0, interop.queue());
    assertTrue(interop.queueFamily() >= 0);
    try (Arena arena = Arena.ofConfined();
        BackendMemory x = device.allocate(4096);
        BackendMemory part = interop.wrapMemory(interop.buffer(x), 100, 50)) {
      assertEquals(100, interop.bufferOffset(part));
      assertEquals(50, part.bytes());
      MemorySegment out = arena.allocate(4096);
      stream.fill(x, 0, 4096, (byte) 1);
      stream.fill(part, 10, 5, (byte) 2);
      stream.download(x, 0, out);
      stream.synchronize();
      assertEquals(1, out.get(ValueLayout.JAVA_BYTE, 109));
      assertEquals(2, out.get(ValueLayout.JAVA_BYTE, 110));
      assertEquals(2, out.get(ValueLayout.JAVA_BYTE, 114));
      assertEquals(1, out.get(ValueLayout.JAVA_BYTE, 115));
      assertThrows(
          IllegalArgumentException.class, () -> interop.wrapMemory(interop.buffer(x), -1, 1));
    }
  }

  @Test
  void closingTwiceIsHarmlessAndNothingRunsAfterwards() {
    stream.close();
    device.close();
    device.close();
    assertThrows(IllegalStateException.class, () -> device.allocate(1L << 30));
  }
}
