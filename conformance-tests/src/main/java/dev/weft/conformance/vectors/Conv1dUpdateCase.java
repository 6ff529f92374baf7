package dev.weft.conformance.vectors;

import static dev.weft.conformance.vectors.CaseReader.ANY;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.conv1d.CausalConv1d;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.conv1d.Conv1dUpdate;
import org.jspecify.annotations.Nullable;

/** {@code causal_conv1d_update}: a decoding step of one or several tokens for each slot. */
record Conv1dUpdateCase(
    HostTensor x,
    Conv1dCase.Weights weights,
    HostTensor states,
    HostTensor cacheIndices,
    @Nullable HostTensor cuSeqlens,
    @Nullable HostTensor cacheSeqlens,
    @Nullable HostTensor numAccepted)
    implements CaseOperation {
  static final String OP = "causal_conv1d_update";

  static Conv1dUpdateCase read(CaseReader in) {
    // With cu_seqlens, which only [T,C] has, the numbers of new tokens differ.
    boolean ragged = in.has("cu_seqlens");
    HostTensor x =
        ragged ? in.floats("x", "[T,C]", ANY, ANY) : in.floats("x", "[B,L,C]", ANY, ANY, ANY);
    long channels = x.shape()[ragged ? 1 : 2];
    HostTensor cuSeqlens = in.cuSeqlens(false, x.shape()[0]);
    long sequences = cuSeqlens == null ? x.shape()[0] : cuSeqlens.elements() - 1;
    Conv1dCase.Weights weights = Conv1dCase.Weights.read(in, channels);
    HostTensor states = in.floats("conv_states", "[slots,C,S]", ANY, channels, ANY);
    Conv1dCase.States.checkColumns(in, states, weights);
    HostTensor cacheIndices = in.integers("cache_indices", DataType.I32, "[B]", sequences);
    in.checkDistinctSlots(cacheIndices, states.shape()[0]);
    HostTensor cacheSeqlens = in.optionalIntegers("cache_seqlens", DataType.I32, "[B]", sequences);
    HostTensor numAccepted = in.optionalIntegers("num_accepted", DataType.I32, "[B]", sequences);
    if (cacheSeqlens != null && numAccepted != null) {
      throw in.wrong("tensor num_accepted: expected none, as cache_seqlens makes the states rings");
    }
    return new Conv1dUpdateCase(
        x, weights, states, cacheIndices, cuSeqlens, cacheSeqlens, numAccepted);
  }

  @Override
  public CausalConv1dSpec spec(DataType type) {
    return weights.spec(type, Mode.UPDATE);
  }

  @Override
  public void run(CaseTensors on) {
    CausalConv1d conv = on.prepare(spec(on.type()));
    Tensor out = on.output("out", on.type(), x.shape());
    conv.update(
        on.stream(),
        Conv1dUpdate.of(
                weights.bind(conv, on),
                on.input(x),
                on.output("conv_states", on.input(states)),
                on.input(cacheIndices),
                out)
            .cuSeqlens(on.optionalInput(cuSeqlens))
            .cacheSeqlens(on.optionalInput(cacheSeqlens))
            .numAccepted(on.optionalInput(numAccepted)));
  }
}
