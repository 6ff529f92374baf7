package dev.weft;

import dev.weft.spi.BackendBinding;
import java.util.List;
import java.util.function.Supplier;

/**
 * Weights bound to a kernel: the caller's tensors, which must stay open, where the kernel reads
 * their layout, else a packed copy. Shared by threads. Nothing is cached by address: after
 * overwriting the tensors call {@link #refresh}.
 */
public abstract class Binding implements AutoCloseable {
  private final Kernel<?> kernel;
  private final List<Tensor> tensors;
  private final BackendBinding backend;
  private final Lifetime lifetime;

  /**
   * Binds.
   *
   * @param kernel the kernel that will read the weights
   * @param check names and checks the tensors, as for a launch
   * @param tensors the weights
   * @param bind calls the backend
   */
  protected Binding(
      Kernel<?> kernel, Launch check, List<Tensor> tensors, Supplier<BackendBinding> bind) {
    this.kernel = kernel;
    this.tensors = List.copyOf(tensors);
    Device device = kernel.device();
    kernel.lifetime().checkOpen();
    Stream stream = device.defaultStream();
    check.check(device, stream);
    this.backend = device.guard("bind", bind);
    long extra = backend.extraBytes();
    try {
      device.reserveLive("packed weights of " + kernel, extra);
    } catch (Throwable t) {
      backend.close();
      throw t;
    }
    this.lifetime =
        device.lifetime(
            "weights bound to " + kernel,
            () -> {
              backend.close();
              device.releaseLive(extra);
            });
    check.keep(lifetime);
    stream.launch(check, context -> backend.refresh(context.stream()));
    if (extra > 0) {
      stream.synchronize(); // so that launches on any stream see the copy
    }
  }

  /**
   * Returns the kernel that the weights are bound to.
   *
   * @return the kernel
   */
  public final Kernel<?> kernel() {
    return kernel;
  }

  /**
   * Returns the size of a packed copy.
   *
   * @return device bytes beyond the tensors; 0 where they are read in place
   */
  public final long extraBytes() {
    return backend.extraBytes();
  }

  /**
   * Enqueues what must be redone after the tensors were overwritten.
   *
   * @param stream orders it behind the overwriting and before later launches
   */
  public final void refresh(Stream stream) {
    Launch launch = Launch.of("refresh").uses(this);
    launch.check(kernel.device(), stream);
    stream.launch(launch, context -> backend.refresh(context.stream()));
  }

  /**
   * Returns the backend's binding, for backends.
   *
   * @return the backend's own object
   */
  public final BackendBinding backend() {
    return backend;
  }

  /** Gives the binding up; released after the last launch that uses it. Never waits. */
  @Override
  public final void close() {
    lifetime.close();
  }

  final Lifetime lifetime() {
    return lifetime;
  }

  final List<Tensor> tensors() {
    return tensors;
  }
}
