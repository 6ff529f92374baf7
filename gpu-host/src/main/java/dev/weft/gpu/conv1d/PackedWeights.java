package dev.weft.gpu.conv1d;

import dev.weft.Tensor;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.Region;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.BackendMemory;
import org.jspecify.annotations.Nullable;

/**
 * Weight and bias as [W + 1, C] F32, tap by tap: whatever their type and pitch, kernels read them
 * with aligned 16-byte loads and know one form only. It is small: 4 (W + 1) bytes a channel. A
 * backend adds the launch that packs them.
 */
public abstract class PackedWeights implements BackendBinding {
  private final Tensor weight;
  private final @Nullable Tensor bias;
  private final BackendMemory packed;

  /** Allocates the packed copy. */
  protected PackedWeights(BackendDevice device, Tensor weight, @Nullable Tensor bias) {
    this.weight = weight;
    this.bias = bias;
    this.packed = device.allocate((weight.size(1) + 1) * pitch() * Float.BYTES);
  }

  static PackedWeights of(Conv1dBinding binding) {
    return (PackedWeights) binding.backend();
  }

  Region region() {
    return new Region(packed, 0);
  }

  /** Channels of a packed row: a thread of the packing kernel has one. */
  protected final long pitch() {
    return Conv1dPlan.weightPitch(Math.toIntExact(weight.size(0)));
  }

  /** The packing kernel's arguments. */
  protected final void put(Arguments to) {
    Conv1dArguments.putWeights(to, weight, bias, region());
  }

  @Override
  public long extraBytes() {
    return packed.bytes();
  }

  @Override
  public void close() {
    packed.close();
  }
}
