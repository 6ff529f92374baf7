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
  private final List<Launch.Argument> weights;
  private final BackendBinding backend;
  private final long extraBytes;
  private final Lifetime lifetime;

  /**
   * Binds.
   *
   * @param kernel the kernel that will read the weights
   * @param check names and checks the weights, as for a launch
   * @param bind calls the backend
   * @throws IllegalStateException in the body of a capture of the default stream, which orders the
   *     binding
   */
  protected Binding(Kernel<?> kernel, Launch check, Supplier<BackendBinding> bind) {
    this.kernel = kernel;
    this.weights = check.arguments();
    Device device = kernel.device();
    Stream stream = device.defaultStream();
    if (stream.isCapturedByThisThread()) {
      throw new IllegalStateException(
          check.name() + ": not possible while " + stream + " is being captured; bind before");
    }
    check.check(device, stream);
    Lifetime kernelLifetime = kernel.lifetime();
    kernelLifetime.pin(); // the backend's binding may need the backend's kernel
    try {
      this.backend = device.guard(check.name(), bind);
      this.extraBytes = extraBytes(device, check.name());
    } catch (Throwable t) {
      kernelLifetime.unpin();
      throw t;
    }
    this.lifetime =
        device.lifetime(
            "weights bound to " + kernel,
            () -> {
              try {
                backend.close();
              } finally {
                device.releaseLive(extraBytes);
                kernelLifetime.unpin();
              }
            });
    try {
      check.keep(lifetime);
      stream.launch(check, context -> backend.refresh(context.stream()));
      if (extraBytes > 0) {
        stream.synchronize(); // so that launches on any stream see the copy
      }
    } catch (Throwable t) {
      lifetime.close();
      throw t;
    }
  }

  /** Counts the packed copy as live, or gives the binding up. */
  private long extraBytes(Device device, String call) {
    try {
      long bytes = device.guard("BackendBinding.extraBytes", backend::extraBytes);
      device.reserveLive("packed weights of " + kernel, bytes);
      return bytes;
    } catch (Throwable t) {
      device.release(call, backend::close);
      throw t;
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
    return extraBytes;
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

  final List<Launch.Argument> weights() {
    return weights;
  }
}
