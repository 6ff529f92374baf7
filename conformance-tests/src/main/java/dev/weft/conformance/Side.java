package dev.weft.conformance;

import dev.weft.Device;
import dev.weft.Kernel;
import dev.weft.OperationSpec;
import dev.weft.Tensor;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * One of a case's two devices: the one under test, or the reference. Writing a case's arguments as
 * a function of the side gives the launch and the oracle the same ones. Closed with the case.
 */
public final class Side {
  private final Device device;
  private final boolean tested;
  private final CaseContext context;
  private final Map<OperationSpec<?>, Kernel<?>> kernels = new HashMap<>();
  private final Map<Object, Object> memo = new HashMap<>();

  Side(CaseContext context, Device device, boolean tested) {
    this.context = context;
    this.device = device;
    this.tested = tested;
  }

  /**
   * Returns the device.
   *
   * @return the device of this side
   */
  public Device device() {
    return device;
  }

  /**
   * Prepares a spec, once.
   *
   * @param spec the spec
   * @param <K> the operation's kernel type
   * @return the kernel, closed with the case
   */
  @SuppressWarnings("unchecked") // a spec's kernel has the spec's kernel type
  public <K extends Kernel<?>> K prepare(OperationSpec<K> spec) {
    Kernel<?> kernel = kernels.get(spec);
    if (kernel == null) {
      kernel = context.keep(device.prepare(spec));
      kernels.put(spec, kernel);
    }
    return (K) kernel;
  }

  /**
   * Returns a tensor on this side.
   *
   * @param operand the tensor of the case
   * @return its view on this side's device
   */
  public Tensor of(Operand operand) {
    return operand.on(tested);
  }

  /**
   * Returns an optional tensor on this side.
   *
   * @param operand the tensor of the case, or null
   * @return its view on this side's device, or null
   */
  public @Nullable Tensor ofNullable(@Nullable Operand operand) {
    return operand == null ? null : operand.on(tested);
  }

  /**
   * Makes something once for this side, such as bound weights.
   *
   * @param key what it is
   * @param make makes it
   * @param <T> its type
   * @return the thing, the same on every call; closed with the case
   */
  @SuppressWarnings("unchecked") // one key, one type
  public <T extends AutoCloseable> T once(Object key, Supplier<T> make) {
    Object value = memo.get(key);
    if (value == null) {
      value = context.keep(make.get());
      memo.put(key, value);
    }
    return (T) value;
  }
}
