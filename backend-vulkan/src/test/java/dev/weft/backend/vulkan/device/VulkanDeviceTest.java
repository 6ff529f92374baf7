package dev.weft.backend.vulkan.device;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.backend.vulkan.VulkanProvider;
import dev.weft.backend.vulkan.driver.DeviceProperties;
import dev.weft.backend.vulkan.driver.Vulkan;
import dev.weft.backend.vulkan.shaders.PipelineCacheFile;
import dev.weft.backend.vulkan.shaders.ShaderLibrary;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.NotUsableException;
import dev.weft.gpu.Region;
import dev.weft.gpu.fixtures.ComputeDeviceContract;
import dev.weft.gpu.fixtures.PresentDevice;
import dev.weft.interop.VulkanInterop;
import dev.weft.spi.BackendGraph;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.Test;

/** The runtime on the device of this machine, with kernels of the tests' own. */
class VulkanDeviceTest extends ComputeDeviceContract {
  @Override
  protected ComputeDevice open() throws NotUsableException {
    PresentDevice.required(new VulkanProvider());
    Vulkan vulkan = Vulkan.open();
    DeviceProperties properties = vulkan.devices().getFirst();
    return VulkanDevice.open(
        vulkan,
        properties,
        0,
        ShaderLibrary.in(VulkanDeviceTest.class, "/dev/weft/backend/vulkan/test"),
        PipelineCacheFile.ofUser(properties));
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
