package dev.weft.backend.vulkan.device;

import dev.weft.backend.vulkan.VulkanProvider;
import dev.weft.backend.vulkan.driver.DeviceProperties;
import dev.weft.backend.vulkan.driver.Vulkan;
import dev.weft.backend.vulkan.shaders.PipelineCacheFile;
import dev.weft.backend.vulkan.shaders.ShaderLibrary;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.Region;
import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.Probe;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.CountDownLatch;
import java.util.stream.IntStream;

/**
 * Launches, transfers, allocates, makes pipelines and asks for devices in several threads until it
 * is told to end.
 */
final class LaunchingProgram {
  /** What it prints when all threads are at it. */
  static final String READY = "launching";

  private static final int THREADS = 4;
  private static final int DISPATCHES = 3000;
  private static final int COUNT = 1000;

  private LaunchingProgram() {}

  public static void main(String[] arguments) throws Exception {
    Vulkan vulkan = Vulkan.open();
    DeviceProperties properties = vulkan.devices().getFirst();
    ComputeDevice device =
        VulkanDevice.open(
            vulkan,
            properties,
            0,
            ShaderLibrary.in(LaunchingProgram.class, "/dev/weft/backend/vulkan/test"),
            PipelineCacheFile.ofUser(properties));
    ComputeKernel scale = device.kernel(KernelName.of("test/scale", "scale").with("FACTOR", 3));
    CountDownLatch started = new CountDownLatch(THREADS);
    for (int i = 0; i < THREADS; i++) {
      new Thread(
              () -> {
                try {
                  launchForEver(device, scale, started);
                } catch (IllegalStateException e) {
                  // The device is closed.
                }
              })
          .start();
    }
    new Thread(LaunchingProgram::askForDevices).start();
    new Thread(
            () -> {
              try {
                makePipelinesForEver(device);
              } catch (IllegalStateException e) {
                // The device is closed.
              }
            })
        .start();
    started.await();
    System.out.println(READY);
  }

  /** Makes and destroys instances until it is refused. */
  private static void askForDevices() {
    VulkanProvider provider = new VulkanProvider();
    while (provider.probe() instanceof Probe.Available) {
      Thread.onSpinWait();
    }
  }

  /** Several at once, none of which was made before. */
  private static void makePipelinesForEver(ComputeDevice device) {
    KernelName scale = KernelName.of("test/scale", "scale");
    for (int i = 0; true; i += 4) {
      int first = 1000 + i;
      device.kernels(
          IntStream.range(first, first + 4)
              .mapToObj(factor -> scale.with("FACTOR", factor))
              .toList());
    }
  }

  private static void launchForEver(
      ComputeDevice device, ComputeKernel scale, CountDownLatch started) {
    ComputeStream stream = (ComputeStream) device.newStream();
    BackendHostMemory host = device.allocateHost(4L * COUNT);
    for (int turn = 0; true; turn++) {
      try (BackendMemory memory = device.allocate(4L * COUNT * (1 + turn % 7))) {
        Region region = new Region(memory, 0);
        stream.fill(memory, 0, 4L * COUNT, (byte) turn);
        stream.beginLaunch();
        for (int i = 0; i < DISPATCHES; i++) {
          stream.arguments().region(region).region(region).value((long) COUNT).value(1).value(1.0f);
          stream.dispatch(scale, 1, 1, 1, 64);
        }
        stream.endLaunch();
        host.segment().set(ValueLayout.JAVA_INT, 0, turn);
        stream.upload(host.segment(), memory, 0);
        stream.download(memory, 0, host.segment());
        try (BackendEvent event = stream.record()) {
          event.synchronize();
        }
        stream.synchronize();
      }
      started.countDown();
    }
  }
}
