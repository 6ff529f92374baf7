package dev.weft.conformance.vectors;

import static dev.weft.conformance.vectors.CaseReader.ANY;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1d;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dBinding;
import dev.weft.conv1d.Conv1dForward;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** {@code causal_conv1d}: packed convolution with optional states, forward and backward. */
record Conv1dCase(
    HostTensor x,
    Weights weights,
    HostTensor cuSeqlens,
    @Nullable States states,
    @Nullable HostTensor dout,
    @Nullable HostTensor dfinalStates)
    implements CaseOperation {
  static final String OP = "causal_conv1d";

  /** What both forms of the convolution have. */
  record Weights(
      HostTensor weight, @Nullable HostTensor bias, Activation activation, int padSlotId) {
    static Weights read(CaseReader in, long channels) {
      return new Weights(
          in.floats("weight", "[C,W]", channels, ANY),
          in.optionalFloats("bias", "[C]", channels),
          in.choice("activation", Map.of("none", Activation.NONE, "silu", Activation.SILU)),
          in.integer("pad_slot_id", Integer.MIN_VALUE, -1));
    }

    long channels() {
      return weight.shape()[0];
    }

    long width() {
      return weight.shape()[1];
    }

    CausalConv1dSpec spec(DataType type, Mode first, Mode... rest) {
      return CausalConv1dSpec.builder()
          .dataType(type)
          .channels(Math.toIntExact(channels()))
          .width(Math.toIntExact(width()))
          .bias(bias != null)
          .activation(activation)
          .padSlotId(padSlotId)
          .modes(first, rest)
          .build();
    }

    Conv1dBinding bind(CausalConv1d kernel, CaseTensors on) {
      return on.closing(kernel.bind(on.input(weight), on.optionalInput(bias)));
    }
  }

  /** The slots, and which of them each sequence continues. */
  record States(
      HostTensor columns,
      HostTensor cacheIndices,
      HostTensor hasInitialState,
      @Nullable HostTensor cacheSeqlens) {
    static @Nullable States read(CaseReader in, long sequences, Weights weights) {
      HostTensor columns =
          in.optionalFloats("conv_states", "[slots,C,S]", ANY, weights.channels(), ANY);
      if (columns == null) {
        for (String name : new String[] {"cache_indices", "has_initial_state", "cache_seqlens"}) {
          if (in.optionalIntegers(
                  name, name.startsWith("has") ? DataType.U8 : DataType.I32, "[B]", sequences)
              != null) {
            throw in.wrong("tensor conv_states: expected one, as there is " + name);
          }
        }
        return null;
      }
      checkColumns(in, columns, weights);
      HostTensor cacheIndices = in.integers("cache_indices", DataType.I32, "[B]", sequences);
      in.checkDistinctSlots(cacheIndices, columns.shape()[0]);
      return new States(
          columns,
          cacheIndices,
          in.integers("has_initial_state", DataType.U8, "[B]", sequences),
          in.optionalIntegers("cache_seqlens", DataType.I32, "[B]", sequences));
    }

    static void checkColumns(CaseReader in, HostTensor columns, Weights weights) {
      if (columns.shape()[2] < weights.width() - 1) {
        throw in.wrong(
            "tensor conv_states [slots,C,S]: expected S of at least "
                + (weights.width() - 1)
                + ", the width less 1, but was "
                + columns);
      }
    }
  }

  static Conv1dCase read(CaseReader in) {
    HostTensor x = in.floats("x", "[T,C]", ANY, ANY);
    long rows = x.shape()[0];
    long channels = x.shape()[1];
    Weights weights = Weights.read(in, channels);
    HostTensor cuSeqlens = Objects.requireNonNull(in.cuSeqlens(true, rows));
    long sequences = cuSeqlens.elements() - 1;
    HostTensor dout = in.optionalFloats("dout", "[T,C]", rows, channels);
    HostTensor dfinalStates =
        in.optionalFloats("dfinal_states", "[B,C,W-1]", sequences, channels, weights.width() - 1);
    if (dfinalStates != null && dout == null) {
      throw in.wrong("tensor dout: expected one, as there is dfinal_states");
    }
    return new Conv1dCase(
        x, weights, cuSeqlens, States.read(in, sequences, weights), dout, dfinalStates);
  }

  @Override
  public CausalConv1dSpec spec(DataType type) {
    return dout == null
        ? weights.spec(type, Mode.FORWARD)
        : weights.spec(type, Mode.FORWARD, Mode.BACKWARD);
  }

  @Override
  public void run(CaseTensors on) {
    DataType type = on.type();
    CausalConv1d conv = on.prepare(spec(type));
    Conv1dBinding bound = weights.bind(conv, on);
    Tensor input = on.input(x);
    Tensor lengths = on.input(cuSeqlens);
    Tensor out = on.output("out", type, x.shape());
    Conv1dForward forward = Conv1dForward.of(bound, input, lengths, out);
    long[] history = {
      cuSeqlens.elements() - 1, weights.channels(), weights.width() - 1,
    };
    Tensor initialStates = null;
    Tensor hasInitialState = null;
    Tensor cacheIndices = null;
    if (states != null) {
      cacheIndices = on.input(states.cacheIndices());
      hasInitialState = on.input(states.hasInitialState());
      // Backward needs what each sequence started from, which forward overwrites.
      initialStates = dout == null ? null : on.zeros(type, history);
      forward =
          forward
              .states(on.output("conv_states", on.input(states.columns())))
              .cacheIndices(cacheIndices)
              .hasInitialState(hasInitialState)
              .cacheSeqlens(on.optionalInput(states.cacheSeqlens()))
              .initialStatesOut(initialStates);
    }
    conv.forward(on.stream(), forward);
    if (dout != null) {
      conv.backward(
          on.stream(),
          Conv1dBackward.of(bound, input, lengths, on.input(dout))
              .cacheIndices(cacheIndices)
              .initialStates(initialStates)
              .hasInitialState(hasInitialState)
              .dfinalStates(on.optionalInput(dfinalStates))
              .dx(on.output("dx", type, x.shape()))
              .dweight(on.output("dweight", DataType.F32, weights.weight().shape()))
              .dbias(
                  weights.bias() == null
                      ? null
                      : on.output("dbias", DataType.F32, weights.channels()))
              .dinitialStates(
                  states == null && dfinalStates == null
                      ? null
                      : on.output("dinitial_states", type, history)));
    }
  }
}
