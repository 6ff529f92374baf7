package dev.weft.cli.bench;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostTensor;
import dev.weft.Stream;
import dev.weft.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Consumer;

/** One launch to measure, its tensors, and what it costs by arithmetic. */
public final class Workload implements AutoCloseable {
  /** Random values repeat with this period, a prime, so that big tensors are quickly filled. */
  private static final int PERIOD = 1_048_573;

  private static final long SEED = 20_260_101;

  private final Device device;
  private final List<AutoCloseable> open = new ArrayList<>();
  private String spec = "";
  private String note = "";
  private long bytes;
  private double flops;
  private long workspaceBytes;
  private boolean isLikeACopy;
  private Consumer<Stream> launch = _ -> {};

  Workload(Device device) {
    this.device = device;
  }

  /** Closes an object together with the workload. */
  <T extends AutoCloseable> T keep(T object) {
    open.add(object);
    return object;
  }

  /** A tensor of random numbers, uniform in -0.5 .. 0.5, the same in every run. */
  Tensor random(DataType type, long... shape) {
    Tensor tensor = zeros(type, shape);
    int period = (int) Math.min(PERIOD, tensor.elements());
    if (period == 0) {
      return tensor;
    }
    HostTensor some = HostTensor.allocate(type, period);
    SplittableRandom random = new SplittableRandom(SEED + open.size());
    for (int i = 0; i < period; i++) {
      some.set(i, random.nextDouble() - 0.5);
    }
    try (Tensor source = device.upload(some)) {
      Tensor flat = tensor.reshape(tensor.elements());
      Stream stream = device.defaultStream();
      for (long at = 0; at < tensor.elements(); at += period) {
        long length = Math.min(period, tensor.elements() - at);
        stream.copy(source.slice(0, 0, length), flat.slice(0, at, at + length));
      }
      stream.synchronize();
    }
    return tensor;
  }

  Tensor zeros(DataType type, long... shape) {
    Tensor tensor = keep(device.allocate(type, shape));
    device.defaultStream().zero(tensor);
    return tensor;
  }

  Tensor ints(int[] values, long... shape) {
    return keep(device.upload(HostTensor.ofInts(values, shape)));
  }

  Tensor ones(DataType type, int length) {
    HostTensor ones = HostTensor.allocate(type, length);
    for (int i = 0; i < length; i++) {
      ones.set(i, 1);
    }
    return keep(device.upload(ones));
  }

  /**
   * Says what is launched and what it costs.
   *
   * @param spec the prepared spec's text
   * @param flops floating point operations
   * @param bytes what has to cross device memory at least once
   */
  Workload measures(String spec, double flops, long bytes, Consumer<Stream> launch) {
    this.spec = spec;
    this.flops = flops;
    this.bytes = bytes;
    this.launch = launch;
    return this;
  }

  /** Says what memory beside the tensors a launch asks its stream for. */
  Workload workspace(long bytes) {
    workspaceBytes = bytes;
    return this;
  }

  /** Says that it does little but move its bytes, so that a copy is what to compare it with. */
  Workload likeACopy() {
    isLikeACopy = true;
    return this;
  }

  Workload note(String text) {
    note = text;
    return this;
  }

  /** Corrects the bytes, where they follow from what a first launch found. */
  void bytes(long corrected) {
    bytes = corrected;
  }

  /**
   * Enqueues the launch.
   *
   * @param stream a stream of the device
   */
  public void launch(Stream stream) {
    launch.accept(stream);
  }

  /**
   * Returns the spec.
   *
   * @return its canonical text
   */
  public String spec() {
    return spec;
  }

  /**
   * Returns what else is to be known, such as how many experts are touched.
   *
   * @return a text, or an empty one
   */
  public String note() {
    return note;
  }

  /**
   * Returns the bytes that have to cross device memory at least once.
   *
   * @return inputs once, outputs once; no scratch
   */
  public long bytes() {
    return bytes;
  }

  /**
   * Returns the floating point operations.
   *
   * @return a product and its sum count two
   */
  public double flops() {
    return flops;
  }

  /**
   * Returns the memory beside the tensors that a launch asks its stream for.
   *
   * @return bytes
   */
  public long workspaceBytes() {
    return workspaceBytes;
  }

  /**
   * Returns whether a copy of as many bytes is what to compare it with.
   *
   * @return yes, if it does little but read and write
   */
  public boolean isLikeACopy() {
    return isLikeACopy;
  }

  @Override
  public void close() {
    device.defaultStream().synchronize();
    for (AutoCloseable object : open.reversed()) {
      try {
        object.close();
      } catch (RuntimeException e) {
        throw e;
      } catch (Exception e) {
        throw new IllegalStateException(e);
      }
    }
  }
}
