package dev.weft.conformance.mutants;

import dev.weft.DataType;
import dev.weft.DeviceException;
import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.UnsupportedSpecException;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.BackendEvent;
import dev.weft.spi.BackendGraph;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import dev.weft.spi.KernelProvider;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.atomic.AtomicInteger;

/** Every way in which the suite's tests break a provider. */
public final class Mutants {
  private final KernelProvider inner;

  /**
   * Breaks a provider.
   *
   * @param inner the right one
   */
  public Mutants(KernelProvider inner) {
    this.inner = inner;
  }

  private Mutant damaged(Damage damage) {
    return new Mutant(inner, false, device -> new DamagedDevice(device, damage));
  }

  private Mutant output(Damage.Change change) {
    return damaged(Damage.output(change));
  }

  /** Nothing is wrong: this one must pass. */
  public Mutant none() {
    return damaged(launch -> launch.right().run());
  }

  /** Every row lies one row too far down. */
  public Mutant offByOneRow() {
    return output((image, rows, width) -> {
      for (long i = rows * width - 1; i >= width; i--) {
        image.copyBits(i - width, i, image);
      }
    });
  }

  /** The last column holds what it should not. */
  public Mutant garbageLastColumn() {
    return output((image, rows, width) -> {
      for (long row = 0; row < rows; row++) {
        image.set(row * width + width - 1, 0.6180339);
      }
    });
  }

  /** The last elements are never written, as by a tail that is forgotten. */
  public Mutant unwrittenTail() {
    return damaged(launch -> {
      Image before = launch.image(launch.output());
      launch.right().run();
      Image after = launch.image(launch.output());
      long rows = launch.rows(after);
      if (rows > 0 && after.elements() > 0) {
        long width = after.elements() / after.size(0);
        for (long i = Math.max(0, rows * width - 3); i < rows * width; i++) {
          after.copyBits(i, i, before);
        }
        after.store();
      }
    });
  }

  /** One element is NaN. */
  public Mutant nan() {
    return output((image, rows, width) -> image.set(rows * width / 2, Double.NaN));
  }

  /** All sequences are taken for one. */
  public Mutant readsNeighbourSequence() {
    return damaged(launch -> {
      if (launch.lengths() == null || launch.lengths().elements() < 3) {
        launch.right().run();
        return;
      }
      Image lengths = launch.image(launch.lengths());
      Image kept = launch.image(launch.lengths());
      for (long i = 1; i < lengths.elements() - 1; i++) {
        lengths.set(i, 0);
      }
      lengths.store();
      launch.right().run();
      launch.stream().synchronize();
      kept.store();
    });
  }

  /** Padding rows are cleared. */
  public Mutant writesPadding() {
    return damaged(launch -> {
      launch.right().run();
      Image image = launch.image(launch.output());
      long width = image.size(0) == 0 ? 0 : image.elements() / image.size(0);
      for (long i = launch.rows(image) * width; i < image.elements(); i++) {
        image.set(i, 0);
      }
      image.store();
    });
  }

  /** One element too many is written. */
  public Mutant writesBehind() {
    return output((image, rows, width) -> image.setBehind(1));
  }

  /** An input is used as scratch. */
  public Mutant writesInput() {
    return damaged(launch -> {
      launch.right().run();
      Image image = launch.image(launch.input());
      if (image.elements() > 0) {
        image.set(0, 42);
        image.store();
      }
    });
  }

  /** Inputs go through bf16, as on matrix units without F32. */
  public Mutant bf16Inputs() {
    return damaged(launch -> {
      Image kept = launch.image(launch.input());
      Image rounded = launch.image(launch.input());
      for (long i = 0; i < rounded.elements(); i++) {
        rounded.set(i, DataType.BF16.round(rounded.get(i)));
      }
      rounded.store();
      launch.right().run();
      launch.stream().synchronize();
      kept.store();
    });
  }

  /** One output element differs in its last bit at every other launch. */
  public Mutant notRepeatable() {
    AtomicInteger launches = new AtomicInteger();
    return output((image, rows, width) -> {
      if (launches.getAndIncrement() % 2 == 1) {
        image.set(0, Math.nextUp((float) image.get(0)));
      }
    });
  }

  /** States stay as they were. */
  public Mutant stateNotUpdated() {
    return damaged(launch -> {
      if (launch.states() == null) {
        launch.right().run();
        return;
      }
      Image before = launch.image(launch.states());
      launch.right().run();
      launch.stream().synchronize();
      before.store();
    });
  }

  /** The last choice of every row gives way to the next higher index, as if ties went there. */
  public Mutant choosesNext() {
    return damaged(launch -> {
      launch.right().run();
      if (launch.choice() == null || launch.choice().elements() == 0) {
        return;
      }
      Image choice = launch.image(launch.choice());
      long chosen = choice.size(choice.rank() - 1);
      long rows = launch.rows(choice) * choice.elements() / choice.size(0) / chosen;
      for (long row = 0; row < rows; row++) {
        long last = (row + 1) * chosen - 1;
        if (choice.get(last) >= 0) {
          choice.set(last, choice.get(last) + 1);
        }
      }
      choice.store();
    });
  }

  /** Launches run some time later than their stream says. */
  public Mutant late() {
    return new Mutant(
        inner,
        false,
        device ->
            new DamagedDevice(
                device,
                launch -> {
                  BackendStream stream = launch.stream();
                  // Recorded, so that the launch can be set free on another stream.
                  stream.beginCapture();
                  launch.right().run();
                  BackendGraph recorded = stream.endCapture();
                  Thread.ofPlatform()
                      .daemon()
                      .start(() -> {
                        try (BackendStream other = device.newStream()) {
                          Thread.sleep(2000);
                          other.launch(recorded);
                          other.synchronize();
                        } catch (InterruptedException | DeviceException e) {
                          // Too late: the case is over, and its tensors are closed.
                        }
                      });
                }));
  }

  /** Supports nothing. */
  public Mutant supportsNothing() {
    return new Mutant(
        inner,
        false,
        device ->
            new Mutant.MutantDevice(device) {
              @Override
              public Support supports(OperationSpec<?> spec) {
                return Support.no("there are no kernels yet");
              }
            });
  }

  /** Says yes to everything, and then refuses. */
  public Mutant supportsLies() {
    return new Mutant(
        inner,
        false,
        device ->
            new Mutant.MutantDevice(device) {
              @Override
              public Support supports(OperationSpec<?> spec) {
                return Support.yes();
              }

              @Override
              public BackendKernel prepare(OperationSpec<?> spec) {
                throw new UnsupportedSpecException(spec.text(), "mutant", "only width 4");
              }
            });
  }

  /** Throws where it should say no. */
  public Mutant supportsThrows() {
    return new Mutant(
        inner,
        false,
        device ->
            new Mutant.MutantDevice(device) {
              @Override
              public Support supports(OperationSpec<?> spec) {
                throw new IllegalStateException("no such kernel");
              }
            });
  }

  /** Changes its mind with every question. */
  public Mutant supportsWavers() {
    AtomicInteger questions = new AtomicInteger();
    return new Mutant(
        inner,
        false,
        device ->
            new Mutant.MutantDevice(device) {
              @Override
              public Support supports(OperationSpec<?> spec) {
                return questions.getAndIncrement() % 2 == 0
                    ? inner.supports(spec)
                    : Support.no("not today");
              }
            });
  }

  /** Runs out of memory with an error of its own. */
  public Mutant wrongOutOfMemory() {
    return new Mutant(
        inner,
        false,
        device ->
            new Mutant.MutantDevice(device) {
              @Override
              public BackendMemory allocate(long bytes) {
                if (bytes > 1L << 40) {
                  throw new IllegalStateException("malloc returned 0");
                }
                return inner.allocate(bytes);
              }
            });
  }

  /** Copies lose their last byte when its number is odd. */
  public Mutant losesLastByte() {
    return streams(
        false,
        stream ->
            new MutantStream(stream) {
              @Override
              public void upload(MemorySegment source, BackendMemory target, long offset) {
                long bytes = source.byteSize();
                super.upload(
                    bytes % 2 == 1 && bytes > 1 ? source.asSlice(0, bytes - 1) : source,
                    target,
                    offset);
              }
            });
  }

  /** Streams do not wait for events. */
  public Mutant ignoresEvents() {
    return streams(
        false,
        stream ->
            new MutantStream(stream) {
              @Override
              public void await(BackendEvent event) {}
            });
  }

  /** Replays do nothing. */
  public Mutant emptyReplays() {
    return streams(
        true,
        stream ->
            new MutantStream(stream) {
              @Override
              public void launch(BackendGraph graph) {}
            });
  }

  /** What should be recorded is done at once. */
  public Mutant capturesEagerly() {
    return streams(
        true,
        stream ->
            new MutantStream(stream) {
              @Override
              public void beginCapture() {}

              @Override
              public BackendGraph endCapture() {
                inner.beginCapture();
                return inner.endCapture();
              }
            });
  }

  private Mutant streams(boolean graphs, java.util.function.UnaryOperator<BackendStream> change) {
    return new Mutant(inner, graphs, device -> new StreamDevice(device, graphs, change));
  }

  private static final class StreamDevice extends Mutant.MutantDevice {
    private final boolean graphs;
    private final java.util.function.UnaryOperator<BackendStream> change;

    StreamDevice(
        BackendDevice inner,
        boolean graphs,
        java.util.function.UnaryOperator<BackendStream> change) {
      super(inner);
      this.graphs = graphs;
      this.change = change;
    }

    @Override
    boolean graphs() {
      return graphs;
    }

    @Override
    public BackendStream newStream() {
      return change.apply(inner.newStream());
    }
  }
}
