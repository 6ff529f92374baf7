package dev.weft.backend.vulkan.driver;

import dev.weft.gpu.NotUsableException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.jspecify.annotations.Nullable;
import org.lwjgl.vulkan.VK10;
import org.lwjgl.vulkan.VkInstance;

/**
 * The thread that makes and destroys all instances of the process. The loader loads drivers with
 * the first instance and unloads them with the last, and NVIDIA's (580) must not be unloaded while
 * the thread that loaded it lives, but by that thread: otherwise, as at the JVM's shutdown, a
 * thread of its own crashed. Nor does it bear being loaded any number of times: after some thirty
 * instances, one after the other, the loader found no driver any more. So after a few an instance
 * of this thread's own keeps it loaded until the JVM's shutdown. Not from the first on: a process
 * that is halted without a shutdown crashes if it is loaded, and most look for devices but once.
 */
final class InstanceThread {
  /** Well below thirty. */
  private static final int FEW = 8;

  /** Of the process, as what is loaded is. */
  static final InstanceThread OF_PROCESS = new InstanceThread();

  private final ExecutorService thread =
      Executors.newSingleThreadExecutor(
          Thread.ofPlatform().daemon().name("weft-vulkan-instances").factory());
  private @Nullable VkInstance keeper;
  private int asked;

  private InstanceThread() {}

  /** What the thread does. */
  @FunctionalInterface
  interface Work<T> {
    T run() throws NotUsableException;
  }

  /** Waits for what the thread makes, in spite of interrupts. */
  <T> T make(Work<T> work) throws NotUsableException {
    Future<T> made = thread.submit(work::run);
    boolean isInterrupted = false;
    try {
      while (true) {
        try {
          return made.get();
        } catch (InterruptedException e) {
          isInterrupted = true;
        } catch (ExecutionException e) {
          switch (e.getCause()) {
            case NotUsableException cause -> throw cause;
            case RuntimeException cause -> throw cause;
            case Error cause -> throw cause;
            case null, default -> throw new IllegalStateException(e);
          }
        }
      }
    } finally {
      if (isInterrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  /** Destroys an instance. */
  void destroy(VkInstance instance) {
    try {
      make(() -> {
        VK10.vkDestroyInstance(instance, null);
        return instance;
      });
    } catch (NotUsableException e) {
      throw new IllegalStateException(e); // destroying throws none
    }
  }

  /** When asked a few times, keeps the drivers that are loaded, by an instance to do so. */
  synchronized void keep(Work<VkInstance> create) throws NotUsableException {
    if (asked > FEW || ++asked <= FEW) {
      return;
    }
    try {
      Runtime.getRuntime().addShutdownHook(new Thread(this::letGo, "weft-vulkan-keeper"));
    } catch (IllegalStateException e) {
      return; // the JVM is shutting down
    }
    keeper = make(create);
  }

  private synchronized void letGo() {
    if (keeper != null) {
      destroy(keeper);
      keeper = null;
    }
  }
}
