package dev.weft;

import dev.weft.spi.BackendGraph;
import java.util.List;
import java.util.OptionalInt;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Recorded launches, replayed as one. Tensors and sizes are fixed; values on the device may change
 * between replays. Keeps its tensors, kernels and scratch alive until it is closed. Safe for use by
 * several threads.
 */
public final class Graph implements AutoCloseable {
  private final Device device;
  private final BackendGraph backend;
  private final @Nullable Workspace workspace;
  private final String launches;
  private final Lifetime lifetime;

  /** Takes over the backend's graph and the pins, in any outcome. */
  Graph(
      Device device,
      BackendGraph backend,
      Set<Lifetime> pins,
      @Nullable Workspace workspace,
      String launches) {
    this.device = device;
    this.backend = backend;
    this.workspace = workspace;
    this.launches = launches;
    List<Lifetime> kept = List.copyOf(pins);
    if (workspace != null) {
      workspace.retain();
    }
    this.lifetime =
        device.lifetime(
            "graph of " + launches,
            () -> {
              try {
                backend.close();
              } finally {
                kept.forEach(Lifetime::unpin);
                if (workspace != null) {
                  workspace.release();
                }
              }
            });
  }

  /**
   * Enqueues everything that was recorded. Replays that share scratch never overlap, whatever their
   * streams.
   *
   * @param stream a stream of the device that the graph was captured on
   */
  public void launch(Stream stream) {
    lifetime.checkOpen();
    if (stream.device() != device) {
      throw new IllegalArgumentException(
          "graph: captured on "
              + device.info().selector()
              + ", but the stream is of "
              + stream.device().info().selector());
    }
    stream.launch(this);
  }

  /**
   * Returns how many pieces of work a replay gives to the device: kernels, copies and fills. What a
   * launch of an operation costs on the host is mostly their number.
   *
   * @return their number, or nothing if the backend does not say
   */
  public OptionalInt nodes() {
    lifetime.checkOpen();
    return backend.nodes();
  }

  /** Gives the graph up; released once no replay is in flight. Never waits. */
  @Override
  public void close() {
    lifetime.close();
  }

  @Override
  public String toString() {
    return "graph of " + launches;
  }

  BackendGraph backend() {
    return backend;
  }

  @Nullable Workspace workspace() {
    return workspace;
  }

  Lifetime lifetime() {
    return lifetime;
  }
}
