package dev.weft;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.StringJoiner;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * What one launch reads, writes and needs: the one place where tensors are checked. For authors of
 * operations; see {@link Kernel#launch}. Used once, by one thread.
 *
 * <p>Every error names the launch and the tensor, what was expected and what was given.
 */
public final class Launch {
  /** In a shape, an extent that may be anything. */
  public static final long ANY = -1;

  private final String name;
  private final List<Argument> arguments = new ArrayList<>();
  private final List<Binding> bindings = new ArrayList<>();
  private final Set<Lifetime> lifetimes = new LinkedHashSet<>();
  private final List<Consumer<Function<Tensor, HostTensor>>> validations = new ArrayList<>();
  private final Set<String> aliases = new LinkedHashSet<>();
  private long workspaceBytes;

  record Argument(String name, Tensor tensor, boolean written) {}

  /** Which strides an argument may have. */
  public enum Layout {
    /** The innermost dimension is dense; every other stride is free. */
    ROWS,
    /** Either of the last two dimensions is dense; every other stride is free. */
    LAST_TWO,
    /** All strides are free. */
    ANY
  }

  private Launch(String name) {
    this.name = name;
  }

  /**
   * Starts a description.
   *
   * @param name the launch's name in errors and events, such as {@code moba.forward}
   * @return an empty description
   */
  public static Launch of(String name) {
    return new Launch(name);
  }

  /**
   * Returns the launch's name.
   *
   * @return the name
   */
  public String name() {
    return name;
  }

  /**
   * Adds a tensor that is read; null is an optional one that is not there.
   *
   * @param argument its name
   * @param tensor the tensor, or null
   * @param dataType the type it must have
   * @param shape the extents it must have, {@link #ANY} where free
   * @return this
   */
  public Launch read(String argument, @Nullable Tensor tensor, DataType dataType, long... shape) {
    return add(argument, tensor, false, Layout.ROWS, dataType, shape);
  }

  /**
   * Adds a tensor that is written; null is an optional one that is not there.
   *
   * @param argument its name
   * @param tensor the tensor, or null
   * @param dataType the type it must have
   * @param shape the extents it must have, {@link #ANY} where free
   * @return this
   */
  public Launch write(String argument, @Nullable Tensor tensor, DataType dataType, long... shape) {
    return add(argument, tensor, true, Layout.ROWS, dataType, shape);
  }

  /**
   * Adds a tensor with a layout of its own.
   *
   * @param argument its name
   * @param tensor the tensor, or null
   * @param written whether it is written
   * @param layout the strides it may have
   * @param dataType the type it must have
   * @param shape the extents it must have, {@link #ANY} where free
   * @return this
   */
  public Launch add(
      String argument,
      @Nullable Tensor tensor,
      boolean written,
      Layout layout,
      DataType dataType,
      long... shape) {
    if (tensor == null) {
      return this;
    }
    boolean fits = tensor.dataType() == dataType && tensor.rank() == shape.length;
    for (int i = 0; fits && i < shape.length; i++) {
      fits = shape[i] == ANY || shape[i] == tensor.size(i);
    }
    if (!fits) {
      throw new IllegalArgumentException(
          name + ": " + argument + ": expected " + text(dataType, shape) + ", but was " + tensor);
    }
    checkLayout(argument, tensor, layout);
    arguments.add(new Argument(argument, tensor, written));
    return this;
  }

  /**
   * Adds bound weights.
   *
   * @param binding the binding; it and its tensors must be open
   * @return this
   */
  public Launch uses(Binding binding) {
    bindings.add(binding);
    return this;
  }

  /**
   * Allows two arguments to be the very same view.
   *
   * @param a an argument's name
   * @param b another's
   * @return this
   */
  public Launch mayAlias(String a, String b) {
    aliases.add(a + '|' + b);
    aliases.add(b + '|' + a);
    return this;
  }

  /**
   * Sets the scratch that the launch needs.
   *
   * @param bytes what the backend asked for
   * @return this
   */
  public Launch workspace(long bytes) {
    workspaceBytes = bytes;
    return this;
  }

  /**
   * Adds a check of values on the device, run only with {@link DeviceOptions#validate()}.
   *
   * @param check gets a function that downloads a tensor; throws IllegalArgumentException
   * @return this
   */
  public Launch validate(Consumer<Function<Tensor, HostTensor>> check) {
    validations.add(check);
    return this;
  }

  /**
   * Refuses the launch unless a condition holds.
   *
   * @param condition what must be true
   * @param message says what is wrong otherwise: the argument, what was expected, what was given;
   *     asked only then, as a launch has no time to write texts that nobody reads
   * @return this
   */
  public Launch require(boolean condition, Supplier<String> message) {
    if (!condition) {
      throw new IllegalArgumentException(name + ": " + message.get());
    }
    return this;
  }

  long workspaceBytes() {
    return workspaceBytes;
  }

  Set<Lifetime> lifetimes() {
    return lifetimes;
  }

  void keep(Lifetime lifetime) {
    lifetimes.add(lifetime);
  }

  /** Checks what does not depend on one argument alone, and notes all that must stay alive. */
  void check(Device device, Stream stream) {
    checkDevice(device, "the stream", stream.device());
    for (Binding binding : bindings) {
      binding.lifetime().checkOpen();
      checkDevice(device, "the bound weights", binding.kernel().device());
      lifetimes.add(binding.lifetime());
      for (Argument weight : binding.weights()) {
        weight.tensor.checkOpen(weight.name);
        lifetimes.add(weight.tensor.lifetime());
      }
    }
    for (int i = 0; i < arguments.size(); i++) {
      Argument a = arguments.get(i);
      a.tensor.checkOpen(a.name);
      checkDevice(device, a.name, a.tensor.device());
      lifetimes.add(a.tensor.lifetime());
      for (int j = 0; j < i; j++) {
        checkOverlap(a, arguments.get(j));
      }
      if (a.written) {
        for (Binding binding : bindings) {
          for (Argument weight : binding.weights()) {
            checkOverlap(a, weight);
          }
        }
      }
    }
    if (device.options().validate() && !validations.isEmpty() && !stream.isCapturedNow()) {
      Function<Tensor, HostTensor> download =
          tensor -> {
            HostTensor host = HostTensor.allocate(tensor.dataType(), tensor.shape());
            stream.download(tensor, host);
            stream.synchronize();
            return host;
          };
      validations.forEach(v -> v.accept(download));
    }
  }

  /** Checks that nothing else uses the scratch that the caller lent. */
  void checkLent(Tensor scratch) {
    Argument written = new Argument("the scratch lent to the stream", scratch, true);
    arguments.forEach(argument -> checkOverlap(written, argument));
    for (Binding binding : bindings) {
      binding.weights().forEach(weight -> checkOverlap(written, weight));
    }
  }

  /** The tensors given, for a binding that goes on reading them. */
  List<Argument> arguments() {
    return List.copyOf(arguments);
  }

  private void checkOverlap(Argument a, Argument b) {
    if (!(a.written || b.written) || !a.tensor.mayOverlap(b.tensor)) {
      return;
    }
    if (aliases.contains(a.name + '|' + b.name) && a.tensor.isSameView(b.tensor)) {
      return;
    }
    throw new IllegalArgumentException(
        name
            + ": "
            + a.name
            + " ("
            + a.tensor
            + ") and "
            + b.name
            + " ("
            + b.tensor
            + ") overlap in memory, and one of them is written; give them memory of their own");
  }

  private void checkDevice(Device device, String argument, Device other) {
    if (other != device) {
      throw new IllegalArgumentException(
          name
              + ": "
              + argument
              + " is on "
              + other.info().selector()
              + ", the kernel on "
              + device.info().selector()
              + "; Stream.copy crosses devices");
    }
  }

  private void checkLayout(String argument, Tensor tensor, Layout layout) {
    int rank = tensor.rank();
    if (layout == Layout.ANY || rank == 0 || tensor.elements() == 0) {
      return;
    }
    boolean last = tensor.size(-1) == 1 || tensor.stride(-1) == 1;
    boolean ok =
        last
            || (layout == Layout.LAST_TWO
                && rank > 1
                && (tensor.size(-2) == 1 || tensor.stride(-2) == 1));
    if (!ok) {
      throw new IllegalArgumentException(
          name
              + ": "
              + argument
              + " ("
              + tensor
              + "): expected stride 1 in the last dimension"
              + (layout == Layout.LAST_TWO ? " or the one before" : "")
              + ", but strides were "
              + Arrays.toString(tensor.strides()));
    }
  }

  private static String text(DataType dataType, long[] shape) {
    StringJoiner extents = new StringJoiner(", ", "[", "]");
    for (long extent : shape) {
      extents.add(extent == ANY ? "*" : Long.toString(extent));
    }
    return dataType.text() + extents;
  }
}
