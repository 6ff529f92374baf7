package dev.weft.gpu.conv1d;

import dev.weft.Tensor;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import org.jspecify.annotations.Nullable;

/**
 * Weight and bias as [W + 1, C] F32, tap by tap: whatever their type and pitch, kernels read them
 * with aligned 16-byte loads and know one form only. It is small: 4 (W + 1) bytes a channel.
 */
final class PackedWeights implements BackendBinding {
  private final ComputeKernel pack;
  private final int groupSize;
  private final Tensor weight;
  private final @Nullable Tensor bias;
  private final BackendMemory packed;
  private final long pitch;

  PackedWeights(
      ComputeDevice device,
      ComputeKernel pack,
      int groupSize,
      Tensor weight,
      @Nullable Tensor bias) {
    this.pack = pack;
    this.groupSize = groupSize;
    this.weight = weight;
    this.bias = bias;
    this.pitch = Conv1dPlan.weightPitch(Math.toIntExact(weight.size(0)));
    this.packed = device.allocate((weight.size(1) + 1) * pitch * Float.BYTES);
  }

  Region region() {
    return new Region(packed, 0);
  }

  /** Channels of a packed row. */
  long pitch() {
    return pitch;
  }

  @Override
  public long extraBytes() {
    return packed.bytes();
  }

  @Override
  public void refresh(BackendStream stream) {
    ComputeStream compute = (ComputeStream) stream;
    compute
        .arguments()
        .region(Region.of(weight))
        .region(Region.ofNullable(bias))
        .region(region())
        .value(TensorLayout.stride(weight, 0))
        .value(pitch)
        .value(Math.toIntExact(weight.size(0)))
        .value(Math.toIntExact(weight.size(1)))
        .value(TensorLayout.typeCode(weight.dataType()));
    compute.dispatch(pack, (pitch + groupSize - 1) / groupSize, 1, 1, groupSize);
  }

  @Override
  public void close() {
    packed.close();
  }
}
