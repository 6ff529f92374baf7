package dev.weft;

import dev.weft.spi.BackendKernel;
import dev.weft.spi.LaunchContext;
import java.util.function.BiConsumer;

/**
 * A prepared operation: what {@link Device#prepare} returns. Immutable and shared by threads; owns
 * no scratch memory.
 *
 * <p>Authors of new operations extend this: their launch methods describe their tensors in a {@link
 * Launch} and call {@link #launch}, which checks, orders, times and reports them like those of the
 * operations that ship with Weft.
 *
 * @param <B> the operation's SPI interface
 */
public abstract class Kernel<B extends BackendKernel> implements AutoCloseable {
  private final Device device;
  private final OperationSpec<?> spec;
  private final B backend;
  private final Lifetime lifetime;

  /**
   * Takes over the backend's kernel.
   *
   * @param prepared what {@link OperationSpec#wrap} got
   * @param type the operation's SPI interface
   * @throws ProviderException if the backend's kernel is of another type
   */
  protected Kernel(Prepared prepared, Class<B> type) {
    this.device = prepared.device;
    this.spec = prepared.spec;
    if (!type.isInstance(prepared.kernel)) {
      throw new ProviderException(
          device.info().providerId(),
          "BackendDevice.prepare: for "
              + spec
              + " it must return a "
              + type.getName()
              + ", but returned a "
              + prepared.kernel.getClass().getName(),
          null);
    }
    this.backend = type.cast(prepared.kernel);
    this.lifetime = prepared.lifetime;
  }

  /**
   * Returns the device.
   *
   * @return where this was prepared
   */
  public final Device device() {
    return device;
  }

  /**
   * Returns the scratch memory that every launch of this kernel needs at most. Pure.
   *
   * @param limits the most tokens, sequences and pages
   * @return bytes, for {@link Stream#reserve}
   */
  public abstract long workspaceBytes(Limits limits);

  /** Gives the kernel up; released after the last launch of it. Never waits; twice is harmless. */
  @Override
  public final void close() {
    lifetime.close();
  }

  @Override
  public final String toString() {
    return spec + " on " + device.info().selector();
  }

  /**
   * Returns the backend's kernel.
   *
   * @return the backend's own object
   */
  protected final B backend() {
    return backend;
  }

  /**
   * Checks and enqueues a launch.
   *
   * @param stream a stream of this kernel's device
   * @param launch what the launch reads, writes and needs
   * @param body calls the backend
   */
  protected final void launch(Stream stream, Launch launch, BiConsumer<B, LaunchContext> body) {
    lifetime.checkOpen();
    launch.check(device, stream);
    launch.keep(lifetime);
    LaunchEvent event = new LaunchEvent();
    event.begin();
    stream.launch(launch, context -> body.accept(backend, context));
    if (event.shouldCommit()) {
      event.device = device.info().selector();
      event.launch = launch.name();
      event.spec = spec.text();
      event.workspaceBytes = launch.workspaceBytes();
      event.commit();
    }
  }

  /**
   * Calls a pure method of the backend, guarded like a launch.
   *
   * @param call the SPI method's name, for errors
   * @param body calls the backend and returns bytes
   * @return the bytes
   */
  protected final long bytes(String call, java.util.function.ToLongFunction<B> body) {
    device.checkUsable();
    lifetime.pin(); // another thread may close the kernel meanwhile
    try {
      long bytes = device.guard(call, () -> body.applyAsLong(backend));
      if (bytes < 0) {
        throw new ProviderException(
            device.info().providerId(), call + ": it returned " + bytes + " for " + spec, null);
      }
      return bytes;
    } finally {
      lifetime.unpin();
    }
  }

  final Lifetime lifetime() {
    return lifetime;
  }
}
