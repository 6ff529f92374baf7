package dev.weft.backend.cuda.conv1d;

import dev.weft.Tensor;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaMemory;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.gpu.TensorLayout;
import dev.weft.gpu.conv1d.Conv1dPlan;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.BackendStream;
import org.jspecify.annotations.Nullable;

/**
 * Weight and bias as [W + 1, C] F32, tap by tap: whatever their type and pitch, kernels read them
 * with aligned 16-byte loads and know one form only. It is small: 4 (W + 1) bytes a channel.
 */
final class PackedWeights implements BackendBinding {
  private static final int THREADS = 128;

  private final KernelFunction pack;
  private final Tensor weight;
  private final @Nullable Tensor bias;
  private final CudaMemory packed;
  private final long pitch;

  PackedWeights(CudaDevice device, Tensor weight, @Nullable Tensor bias) {
    this.pack = device.kernel(Conv1dVariant.PACK);
    this.weight = weight;
    this.bias = bias;
    this.pitch = Conv1dPlan.weightPitch(Math.toIntExact(weight.size(0)));
    this.packed = device.allocate((weight.size(1) + 1) * pitch * Float.BYTES);
  }

  long address() {
    return packed.address();
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
    CudaStream cuda = (CudaStream) stream;
    cuda.parameters()
        .put(TensorArguments.address(weight))
        .put(TensorArguments.address(bias))
        .put(packed.address())
        .put(TensorLayout.stride(weight, 0))
        .put(pitch)
        .put((int) weight.size(0))
        .put((int) weight.size(1))
        .put(TensorLayout.typeCode(weight.dataType()));
    cuda.launch(pack, (pitch + THREADS - 1) / THREADS, 1, THREADS);
  }

  @Override
  public void close() {
    packed.close();
  }
}
