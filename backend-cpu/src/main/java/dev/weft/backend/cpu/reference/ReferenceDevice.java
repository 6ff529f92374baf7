package dev.weft.backend.cpu.reference;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.backend.cpu.host.HostDevice;
import dev.weft.backend.cpu.host.WorkPool;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.Oracle;
import java.util.Optional;

/** The device of the backend {@code reference}. Its extension is the {@link Oracle}. */
public final class ReferenceDevice extends HostDevice {
  /**
   * Opens the device.
   *
   * @param descriptor what the provider's probe said
   */
  public ReferenceDevice(DeviceDescriptor descriptor) {
    super(descriptor, new WorkPool(1)); // on one thread, as all that it does
  }

  @Override
  public Support supports(OperationSpec<?> spec) {
    return switch (spec) {
      case MobaAttentionSpec moba -> MobaReference.supports(moba);
      case MoeDispatchSpec moe -> MoeReference.supports(moe);
      case CausalConv1dSpec conv -> Conv1dReference.supports(conv);
      default -> Support.no("reference does not know the operation " + spec.operation());
    };
  }

  @Override
  public BackendKernel prepare(OperationSpec<?> spec) {
    return switch (spec) {
      case MobaAttentionSpec moba -> new MobaReference(moba);
      case MoeDispatchSpec moe -> new MoeReference(moe);
      case CausalConv1dSpec conv -> new Conv1dReference(conv);
      default -> throw new IllegalArgumentException("unsupported: " + spec);
    };
  }

  @Override
  public <T> Optional<T> extension(Class<T> type) {
    return type == Oracle.class ? Optional.of(type.cast(new ReferenceOracle())) : Optional.empty();
  }
}
