package dev.weft.backend.opencl.device;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DeviceException;
import dev.weft.backend.opencl.OpenClProvider;
import dev.weft.backend.opencl.driver.OpenCl;
import dev.weft.backend.opencl.programs.ProgramCache;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.NotUsableException;
import dev.weft.gpu.fixtures.ComputeDeviceContract;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.interop.OpenClInterop;
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
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The runtime on the device of this machine, with kernels of the tests' own. */
class OpenClDeviceTest extends ComputeDeviceContract {
  @TempDir Path folder;

  @Override
  protected OpenClDevice open() throws NotUsableException {
    PresentDevice.required(new OpenClProvider());
    return openWithCache();
  }

  private OpenClDevice openWithCache() throws NotUsableException {
    OpenCl openCl = OpenCl.load();
    return new OpenClDevice(
        openCl.devices().getFirst(), 0, openCl.calls(), ProgramCache.in(folder));
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
