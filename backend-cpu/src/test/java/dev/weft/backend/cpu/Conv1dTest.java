package dev.weft.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1d;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.spi.KernelProvider;
import java.util.Random;
import java.util.function.ToDoubleFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What a reader can check by hand, and gradients against finite differences. */
class Conv1dTest extends OnBothProviders {
  private Tensor flags(Device device, int... values) {
    HostTensor flags = HostTensor.allocate(DataType.U8, values.length);
    for (int i = 0; i < values.length; i++) {
      flags.set(i, values[i]);
    }
    return keep(device.upload(flags));
  }

  private Conv1dBinding sums(Device device) {
    CausalConv1dSpec spec =
        CausalConv1dSpec.builder()
            .dataType(DataType.F32)
            .channels(1)
            .width(3)
            .activation(Activation.NONE)
            .modes(Mode.FORWARD, Mode.UPDATE, Mode.BACKWARD)
            .build();
    CausalConv1d conv = keep(device.prepare(spec));
    return keep(conv.bind(floats(device, new float[] {100, 10, 1}, 1, 3), null));
  }

  private static CausalConv1d kernel(Conv1dBinding weights) {
    return (CausalConv1d) weights.kernel();
  }

  @ParameterizedTest
  @MethodSource("providers")
  void theLastTapMultipliesTheCurrentTokenAndSlotsShift(KernelProvider provider) {
    Device device = device(provider);
    Conv1dBinding weights = sums(device);
    Tensor x = floats(device, new float[] {1, 2, 3, 4, 5, 9}, 6, 1);
    Tensor out = floats(device, new float[] {-1, -1, -1, -1, -1, -1}, 6, 1);
    // Slots of 4 columns, of which the last 2 are the history.
    Tensor states = floats(device, new float[] {1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0}, 3, 1, 4);
    Tensor initial = floats(device, new float[8], 4, 1, 2);
    // Slot 1 with its state, slot 0 from zeros, a slot out of range, an empty sequence.
    Conv1dForward call =
        Conv1dForward.of(weights, x, ints(device, 0, 1, 4, 5, 5), out)
            .states(states)
            .cacheIndices(ints(device, 1, 0, 3, 2))
            .hasInitialState(flags(device, 1, 0, 1, 1))
            .initialStatesOut(initial);
    kernel(weights).forward(device.defaultStream(), call);
    assertArrayEquals(
        new float[] {781, 2, 23, 234, 0, -1}, out.download().toFloats(), "the last row is padding");
    assertArrayEquals(
        new float[] {0, 2, 3, 4, 6, 7, 8, 1, 0, 0, 0, 0}, states.download().toFloats());
    assertArrayEquals(new float[] {7, 8, 0, 0, 0, 0, 0, 0}, initial.download().toFloats());
  }

  @ParameterizedTest
  @MethodSource("providers")
  void aRingKeepsPositionsModuloItsColumns(KernelProvider provider) {
    Device device = device(provider);
    Conv1dBinding weights = sums(device);
    Tensor x = floats(device, new float[] {7, 8, 9}, 1, 3, 1);
    // Positions 3, 4 and 2 in columns 0, 1 and 2.
    Tensor states = floats(device, new float[] {3, 4, 2}, 1, 1, 3);
    kernel(weights)
        .update(
            device.defaultStream(),
            Conv1dUpdate.of(weights, x, states, ints(device, 0), x).cacheSeqlens(ints(device, 5)));
    assertArrayEquals(new float[] {347, 478, 789}, x.download().toFloats());
    assertArrayEquals(new float[] {8, 9, 7}, states.download().toFloats());
  }

  @ParameterizedTest
  @MethodSource("providers")
  void speculationTakesBackWhatWasNotAccepted(KernelProvider provider) {
    Device device = device(provider);
    Conv1dBinding weights = sums(device);
    Tensor x = floats(device, new float[] {7, 8, 1, 1, 2, 2}, 3, 2, 1);
    Tensor out = floats(device, new float[6], 3, 2, 1);
    Tensor states =
        floats(device, new float[] {1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5}, 3, 1, 5);
    kernel(weights)
        .update(
            device.defaultStream(),
            Conv1dUpdate.of(weights, x, states, ints(device, 0, 1, 2), out)
                .numAccepted(ints(device, 2, 0, 5)));
    assertArrayEquals(new float[] {237, 378, 0, 0, 0, 0}, out.download().toFloats());
    assertArrayEquals(
        new float[] {3, 7, 8, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5}, states.download().toFloats());
  }

  @ParameterizedTest
  @MethodSource("providers")
  void gradientsOfShortSequencesPassDfinalThrough(KernelProvider provider) {
    Device device = device(provider);
    Conv1dBinding weights = sums(device);
    Tensor dx = floats(device, new float[] {-1, -1}, 2, 1);
    Tensor dinitial = floats(device, new float[6], 3, 1, 2);
    Tensor dweight = floats(device, new float[] {1, 1, 1}, 1, 3);
    // One token, none, and one of a skipped sequence.
    kernel(weights)
        .backward(
            device.defaultStream(),
            Conv1dBackward.of(
                    weights,
                    floats(device, new float[] {3, 9}, 2, 1),
                    ints(device, 0, 1, 1, 2),
                    floats(device, new float[] {2, 9}, 2, 1))
                .cacheIndices(ints(device, 0, 1, -1))
                .initialStates(floats(device, new float[] {4, 5, 0, 0, 0, 0}, 3, 1, 2))
                .hasInitialState(flags(device, 1, 1, 1))
                .dfinalStates(floats(device, new float[] {10, 20, 30, 40, 50, 60}, 3, 1, 2))
                .dx(dx)
                .dweight(dweight)
                .dinitialStates(dinitial)
                .accumulate(true));
    assertArrayEquals(new float[] {22, 0}, dx.download().toFloats());
    assertArrayEquals(new float[] {200, 30, 30, 40, 0, 0}, dinitial.download().toFloats());
    assertArrayEquals(new float[] {9, 11, 7}, dweight.download().toFloats());
  }

  @ParameterizedTest
  @MethodSource("providers")
  void aCuSeqlensThatDoesNotFitStaysWithinTheRows(KernelProvider provider) {
    Device device = device(provider);
    Conv1dBinding weights = sums(device);
    Tensor x = floats(device, new float[] {1, 2, 3}, 3, 1);
    Tensor out = floats(device, new float[3], 3, 1);
    Tensor dx = floats(device, new float[3], 3, 1);
    Tensor cu = ints(device, -5, 2, Integer.MAX_VALUE, Integer.MIN_VALUE, 1);
    kernel(weights).forward(device.defaultStream(), Conv1dForward.of(weights, x, cu, out));
    kernel(weights).backward(device.defaultStream(), Conv1dBackward.of(weights, x, cu, out).dx(dx));
    device.defaultStream().synchronize();
  }

  @ParameterizedTest
  @MethodSource("providers")
  void gradientsAgreeWithFiniteDifferences(KernelProvider provider) {
    Device device = device(provider);
    Random random = new Random(7);
    int channels = 3;
    int width = 4;
    int[] cu = {0, 5, 5, 6, 8, 11};
    int sequences = cu.length - 1;
    int tokens = cu[sequences];
    CausalConv1dSpec spec =
        CausalConv1dSpec.builder()
            .dataType(DataType.F32)
            .channels(channels)
            .width(width)
            .bias(true)
            .modes(Mode.FORWARD, Mode.BACKWARD)
            .build();
    CausalConv1d conv = keep(device.prepare(spec));
    float[][] given = new float[6][];
    int[] sizes = {
      tokens * channels,
      channels * width,
      channels,
      sequences * channels * (width - 1),
      tokens * channels,
      sequences * channels * (width - 1)
    };
    for (int i = 0; i < sizes.length; i++) {
      given[i] = new float[sizes[i]];
      for (int j = 0; j < sizes[i]; j++) {
        given[i][j] = (float) random.nextGaussian();
      }
    }
    Tensor lengths = ints(device, cu);
    Tensor slots = ints(device, 0, 1, 2, 3, 4);
    Tensor flags = flags(device, 1, 1, 0, 1, 1);
    // x, weight, bias, initial states; with the loss sum(out dout) + sum(final dfinal).
    ToDoubleFunction<float[][]> loss =
        inputs -> {
          Tensor states = floats(device, inputs[3], sequences, channels, width - 1L);
          Tensor out = floats(device, new float[tokens * channels], tokens, channels);
          Conv1dBinding weights =
              keep(
                  conv.bind(
                      floats(device, inputs[1], channels, width),
                      floats(device, inputs[2], channels)));
          conv.forward(
              device.defaultStream(),
              Conv1dForward.of(weights, floats(device, inputs[0], tokens, channels), lengths, out)
                  .states(states)
                  .cacheIndices(slots)
                  .hasInitialState(flags));
          float[] outs = out.download().toFloats();
          float[] finals = states.download().toFloats();
          double sum = 0;
          for (int i = 0; i < outs.length; i++) {
            sum += (double) outs[i] * inputs[4][i];
          }
          for (int i = 0; i < finals.length; i++) {
            sum += (double) finals[i] * inputs[5][i];
          }
          return sum;
        };
    Tensor[] gradients = {
      floats(device, new float[sizes[0]], tokens, channels),
      floats(device, new float[sizes[1]], channels, width),
      floats(device, new float[sizes[2]], channels),
      floats(device, new float[sizes[3]], sequences, channels, width - 1L)
    };
    Conv1dBinding weights =
        keep(
            conv.bind(
                floats(device, given[1], channels, width), floats(device, given[2], channels)));
    conv.backward(
        device.defaultStream(),
        Conv1dBackward.of(
                weights,
                floats(device, given[0], tokens, channels),
                lengths,
                floats(device, given[4], tokens, channels))
            .cacheIndices(slots)
            .initialStates(floats(device, given[3], sequences, channels, width - 1L))
            .hasInitialState(flags)
            .dfinalStates(floats(device, given[5], sequences, channels, width - 1L))
            .dx(gradients[0])
            .dweight(gradients[1])
            .dbias(gradients[2])
            .dinitialStates(gradients[3]));
    float step = 0x1p-7f;
    for (int input = 0; input < 4; input++) {
      float[] gradient = gradients[input].download().toFloats();
      for (int i = 0; i < gradient.length; i++) {
        float[][] moved = given.clone();
        moved[input] = given[input].clone();
        moved[input][i] = given[input][i] + step;
        double above = loss.applyAsDouble(moved);
        double up = moved[input][i];
        moved[input][i] = given[input][i] - step;
        double below = loss.applyAsDouble(moved);
        double slope = (above - below) / (up - moved[input][i]);
        int sequence = i / (channels * (width - 1));
        if (input == 3 && sequence == 1) {
          // The empty sequence leaves its slot alone, so the slot's gradient is dfinal.
          assertEquals(given[5][i], gradient[i]);
        } else if (input == 3 && sequence == 2) {
          assertEquals(0, gradient[i], "no initial state");
        } else {
          assertEquals(slope, gradient[i], 2e-3, "input " + input + ", element " + i);
        }
      }
    }
  }

  @Test
  void resultsDoNotDependOnTheNumberOfThreads() {
    float[][] first = gradients(1);
    float[][] second = gradients(5);
    for (int i = 0; i < first.length; i++) {
      assertArrayEquals(first[i], second[i]);
    }
  }

  private float[][] gradients(int threads) {
    Device device =
        keep(Weft.open(new CpuProvider(), "0", DeviceOptions.builder().threads(threads).build()));
    Random random = new Random(3);
    int channels = 133;
    int tokens = 301;
    CausalConv1dSpec spec =
        CausalConv1dSpec.builder()
            .dataType(DataType.F32)
            .channels(channels)
            .width(4)
            .modes(Mode.FORWARD, Mode.BACKWARD)
            .build();
    CausalConv1d conv = keep(device.prepare(spec));
    float[] xs = new float[tokens * channels];
    float[] ws = new float[channels * 4];
    for (int i = 0; i < xs.length; i++) {
      xs[i] = (float) random.nextGaussian();
    }
    for (int i = 0; i < ws.length; i++) {
      ws[i] = (float) random.nextGaussian();
    }
    Tensor x = floats(device, xs, tokens, channels);
    Tensor out = floats(device, xs, tokens, channels);
    Tensor dx = floats(device, xs, tokens, channels);
    Tensor dweight = floats(device, ws, channels, 4);
    Tensor cu = ints(device, 0, 100, 101, 301);
    Conv1dBinding weights = keep(conv.bind(floats(device, ws, channels, 4), null));
    conv.forward(device.defaultStream(), Conv1dForward.of(weights, x, cu, out));
    conv.backward(
        device.defaultStream(), Conv1dBackward.of(weights, x, cu, out).dx(dx).dweight(dweight));
    return new float[][] {
      out.download().toFloats(), dx.download().toFloats(), dweight.download().toFloats()
    };
  }
}
