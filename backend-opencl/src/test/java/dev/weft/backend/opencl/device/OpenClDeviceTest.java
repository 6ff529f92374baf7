package dev.weft.backend.opencl.device;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DeviceException;
import dev.weft.DeviceOutOfMemoryException;
import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.backend.opencl.PresentDevice;
import dev.weft.backend.opencl.driver.NotUsableException;
import dev.weft.backend.opencl.driver.OpenCl;
import dev.weft.backend.opencl.programs.ProgramCache;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.Region;
import dev.weft.interop.OpenClInterop;
import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendGraph;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The runtime on the device of this machine, with kernels of the tests' own. */
class OpenClDeviceTest {
  private static final KernelName SCALE = KernelName.of("test/scale", "scale").with("FACTOR", 3);
  private static final int COUNT = 1000;

  @TempDir Path folder;
  private ComputeDevice device;
  private ComputeStream stream;

  @BeforeEach
  void open() throws NotUsableException {
    PresentDevice.required();
    device = openWithCache();
    stream = (ComputeStream) device.newStream();
  }

  private OpenClDevice openWithCache() throws NotUsableException {
    OpenCl openCl = OpenCl.load();
    return new OpenClDevice(
        new Nothing(), openCl.devices().getFirst(), 0, openCl.calls(), ProgramCache.in(folder));
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
      stream.dispatch(device.kernel(SCALE.function("squares")), 1, 1, 1, 32);
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
  void noRegionIsANullPointerAndNoGroupIsNoDispatch() {
    try (Arena arena = Arena.ofConfined();
        BackendMemory y = device.allocate(64)) {
      MemorySegment out = arena.allocate(64, 64);
      ComputeKernel kernel = device.kernel(SCALE);
      stream.fill(y, 0, 64, (byte) 0);
      stream.arguments().region(null).region(new Region(y, 4)).value(15L).value(1).value(1f);
      stream.dispatch(kernel, 1, 1, 1, 8);
      stream.dispatch(kernel, 0, 1, 1, 8);
      stream.dispatch(kernel, 1, 0, 1, 8);
      stream.dispatch(kernel, 1, 1, 0, 8);
      stream.download(y, 0, out);
      stream.synchronize();
      assertEquals(0, at(out, 0));
      assertEquals(4, at(out, 1));
      assertEquals(4, at(out, 8));
      assertEquals(0, at(out, 9));
      assertThrows(
          IllegalArgumentException.class,
          () -> stream.dispatch(kernel, 1, 1, 1, kernel.mostGroupSize() + 1));
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
  void aProgramIsBuiltOnceWhoeverAsks() throws Exception {
    int before = cached().size(); // the check of matrix units may have stored some
    List<Future<ComputeKernel>> results = new ArrayList<>();
    try (ExecutorService pool = Executors.newFixedThreadPool(4)) {
      for (int n = 0; n < 8; n++) {
        results.add(pool.submit(() -> device.kernel(SCALE)));
      }
    }
    for (Future<ComputeKernel> result : results) {
      assertEquals(device.kernel(SCALE), result.get());
    }
    assertNotEquals(device.kernel(SCALE), device.kernel(SCALE.with("FACTOR", 4)));
    assertEquals(before + 2, cached().size());
  }

  private List<Path> cached() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.toList();
    }
  }

  @Test
  void whatTheCompilerRefusesIsShownAndKept() throws IOException {
    for (int n = 0; n < 2; n++) { // the second time as the first
      DeviceException e =
          assertThrows(
              DeviceException.class,
              () -> device.kernel(KernelName.of("test/broken", "broken").with("SIZE", 7)));
      String message = String.valueOf(e.getMessage());
      assertTrue(message.contains("clBuildProgram(test/broken"), message);
      assertTrue(message.contains("CL_BUILD_PROGRAM_FAILURE"), message);
      assertTrue(message.contains("no_such_name"), message);
      Matcher file = Pattern.compile("log and source: ([^)]*)\\)").matcher(message);
      assertTrue(file.find(), message);
      Path kept = Path.of(file.group(1));
      String text = Files.readString(kept);
      Files.delete(kept);
      assertTrue(text.contains("-DSIZE=7") && text.contains("__kernel void broken"), text);
      assertTrue(text.contains("float square"), "with what it includes: " + text);
      assertTrue(text.indexOf("no_such_name") < text.lastIndexOf("no_such_name"), text);
    }
  }

  @Test
  void aProgramThatTheDriverDoesNotTakeIsBuiltAnew() throws Exception {
    List<Path> others = cached();
    device.kernel(SCALE);
    Path entry = cached().stream().filter(f -> !others.contains(f)).findFirst().orElseThrow();
    String key = entry.getFileName().toString().replaceFirst("\\..*", "");
    byte[] sound = Files.readAllBytes(entry);
    replaceProgram(key, "no binary of any driver".getBytes(StandardCharsets.UTF_8));
    assertTrue(Files.size(entry) < sound.length);
    try (ComputeDevice again = openWithCache()) {
      assertEquals(SCALE, again.kernel(SCALE).name());
    }
    assertTrue(Files.size(entry) > 1000, "it is replaced by a sound one");
    Files.write(entry, new byte[10]);
    try (ComputeDevice again = openWithCache()) {
      assertEquals(SCALE, again.kernel(SCALE).name());
    }
    assertTrue(Files.size(entry) > 1000, "it is replaced by a sound one");
  }

  /** As a driver of another version might have left it. */
  private void replaceProgram(String key, byte[] program) throws IOException {
    ProgramCache cache = ProgramCache.in(folder);
    cache.store(key, program);
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
  void buffersAndQueuesAreShared() {
    OpenClInterop interop = device.extension(OpenClInterop.class).orElseThrow();
    assertNotEquals(0, interop.context());
    try (Arena arena = Arena.ofConfined();
        BackendMemory x = device.allocate(4096);
        BackendMemory part = interop.wrapMemory(interop.buffer(x), 100, 50);
        BackendStream same = interop.wrapStream(interop.queue(stream))) {
      assertEquals(100, interop.bufferOffset(part));
      assertEquals(50, part.bytes());
      assertEquals(interop.queue(stream), interop.queue(same));
      MemorySegment out = arena.allocate(4096);
      stream.fill(x, 0, 4096, (byte) 1);
      same.fill(part, 10, 5, (byte) 2);
      stream.download(x, 0, out);
      stream.synchronize();
      assertEquals(1, out.get(ValueLayout.JAVA_BYTE, 109));
      assertEquals(2, out.get(ValueLayout.JAVA_BYTE, 110));
      assertEquals(2, out.get(ValueLayout.JAVA_BYTE, 114));
      assertEquals(1, out.get(ValueLayout.JAVA_BYTE, 115));
      assertThrows(
          IllegalArgumentException.class, () -> interop.wrapMemory(interop.buffer(x), 0, 1L << 40));
    }
  }
}
