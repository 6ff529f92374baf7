package dev.weft.conformance.vectors;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.HostTensor;
import dev.weft.Kernel;
import dev.weft.OperationSpec;
import dev.weft.Stream;
import dev.weft.Tensor;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What one run of a case holds on a device: inputs rounded to the run's type, outputs of zeros (so
 * that rows which an operation leaves alone hold zeros), kernels and bindings. Closes all of it.
 */
final class CaseTensors implements AutoCloseable {
  private final Device device;
  private final DataType type;
  private final Deque<AutoCloseable> open = new ArrayDeque<>();
  private final Map<String, Tensor> outputs = new LinkedHashMap<>();

  CaseTensors(Device device, DataType type) {
    this.device = device;
    this.type = type;
  }

  /** The type of the run. */
  DataType type() {
    return type;
  }

  Stream stream() {
    return device.defaultStream();
  }

  <K extends Kernel<?>> K prepare(OperationSpec<K> spec) {
    return closing(device.prepare(spec));
  }

  <C extends AutoCloseable> C closing(C resource) {
    open.push(resource);
    return resource;
  }

  /** An input; floating ones are rounded to the type of the run. */
  Tensor input(HostTensor source) {
    return input(source, source.dataType().isFloating() ? type : source.dataType());
  }

  @Nullable Tensor optionalInput(@Nullable HostTensor source) {
    return source == null ? null : input(source);
  }

  Tensor input(HostTensor source, DataType as) {
    return closing(device.upload(source.to(as)));
  }

  /** A tensor of zeros that the operation may write. */
  Tensor zeros(DataType dataType, long... shape) {
    Tensor tensor = closing(device.allocate(dataType, shape));
    stream().zero(tensor);
    return tensor;
  }

  /** Zeros that are an output of the case. */
  Tensor output(String name, DataType dataType, long... shape) {
    return output(name, zeros(dataType, shape));
  }

  /** Makes a tensor an output of the case. */
  Tensor output(String name, Tensor tensor) {
    outputs.put(name, tensor);
    return tensor;
  }

  /** Waits for the run, and copies its outputs. */
  Map<String, HostTensor> download() {
    stream().synchronize();
    Map<String, HostTensor> results = new LinkedHashMap<>();
    outputs.forEach((name, tensor) -> results.put(name, tensor.download()));
    return results;
  }

  @Override
  public void close() {
    RuntimeException failure = null;
    while (!open.isEmpty()) {
      try {
        open.pop().close();
      } catch (Exception e) {
        RuntimeException now = e instanceof RuntimeException r ? r : new IllegalStateException(e);
        if (failure == null) {
          failure = now;
        } else {
          failure.addSuppressed(now);
        }
      }
    }
    if (failure != null) {
      throw failure;
    }
  }
}
