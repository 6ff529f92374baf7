package dev.weft.backend.cuda;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceLostException;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1d;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.interop.CudaInterop;
import dev.weft.spi.BackendMemory;
import java.util.Arrays;

/**
 * Lets a kernel read where nothing is, which ends the device, and goes on with other devices. In a
 * process of its own: the driver does not open the device again in the one where that happened.
 */
final class LosingProgram {
  /** What it prints at the end if all was as it should be. */
  static final String DONE = "lost one device and went on";

  private static final int TOKENS = 64;
  private static final int CHANNELS = 64;

  /** Far from all that was allocated, and within what addresses can be. */
  private static final long NOWHERE = 1L << 45;

  private LosingProgram() {}

  public static void main(String[] arguments) {
    try (Device device = Weft.open(arguments[0])) {
      lose(device);
    }
    for (int i = 1; i < arguments.length; i++) {
      try (Device device = Weft.open(arguments[i])) {
        float[] out = convolve(device, device.upload(ones(TOKENS, CHANNELS)));
        require(out[0] == 1 && out[out.length - 1] == 4, "sums of ones on " + arguments[i]);
        IO.println("computed on " + device.info().selector());
      }
    }
    IO.println(DONE);
  }

  private static void lose(Device device) {
    DeviceLostException first = loss(device);
    String message = String.valueOf(first.getMessage());
    IO.println(message);
    require(message.contains("conv1d.forward"), "no launch is named");
    require(device.isLost(), "the device is not lost");
    require(!device.info().toString().isBlank(), "nothing is known of a lost device");
    try {
      device.allocate(DataType.F32, 1).close();
    } catch (DeviceLostException e) {
      require(e.getCause() == first, "another cause: " + e.getCause());
      return;
    }
    throw new AssertionError("a lost device allocates");
  }

  private static DeviceLostException loss(Device device) {
    BackendMemory nowhere =
        device
            .extension(CudaInterop.class)
            .orElseThrow()
            .wrapMemory(NOWHERE, 4L * TOKENS * CHANNELS);
    try {
      convolve(device, device.wrap(nowhere, DataType.F32, TOKENS, CHANNELS));
    } catch (DeviceLostException e) {
      return e;
    }
    throw new AssertionError("reading where nothing is went well");
  }

  private static float[] convolve(Device device, Tensor x) {
    try (CausalConv1d conv =
            device.prepare(
                CausalConv1dSpec.builder()
                    .dataType(DataType.F32)
                    .channels(CHANNELS)
                    .width(4)
                    .activation(Activation.NONE)
                    .build());
        Tensor weight = device.upload(ones(CHANNELS, 4));
        Tensor starts = device.upload(HostTensor.ofInts(new int[] {0, TOKENS}, 2));
        Tensor out = device.allocate(DataType.F32, TOKENS, CHANNELS);
        Conv1dBinding weights = conv.bind(weight, null)) {
      device.defaultStream().synchronize();
      conv.forward(device.defaultStream(), Conv1dForward.of(weights, x, starts, out));
      return out.download().toFloats();
    }
  }

  private static HostTensor ones(long... shape) {
    float[] values = new float[Math.toIntExact(shape[0] * shape[1])];
    Arrays.fill(values, 1);
    return HostTensor.ofFloats(DataType.F32, values, shape);
  }

  private static void require(boolean condition, String message) {
    if (!condition) {
      throw new AssertionError(message);
    }
  }
}
