package dev.weft.conformance.vectors;

import static dev.weft.conformance.vectors.CaseReader.ANY;

import dev.weft.DataType;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.moba.MobaAttention;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** {@code moba_attention}: packed attention, forward and backward. */
record MobaCase(
    HostTensor q,
    HostTensor k,
    HostTensor v,
    HostTensor cuSeqlens,
    @Nullable HostTensor dout,
    int blockSize,
    int topK,
    float scale)
    implements CaseOperation {
  static final String OP = "moba_attention";

  static MobaCase read(CaseReader in) {
    HostTensor q = in.floats("q", "[T,H,D]", ANY, ANY, ANY);
    long rows = q.shape()[0];
    HostTensor k = in.floats("k", "[T,Hkv,D]", rows, ANY, q.shape()[2]);
    HostTensor v = in.floats("v", "[T,Hkv,Dv]", rows, k.shape()[1], ANY);
    return new MobaCase(
        q,
        k,
        v,
        Objects.requireNonNull(in.cuSeqlens(true, rows)),
        in.optionalFloats("dout", "[T,H,Dv]", rows, q.shape()[1], v.shape()[2]),
        in.integer("block_size", 1),
        in.integer("top_k", 1),
        in.number("scale", Float.NaN));
  }

  @Override
  public MobaAttentionSpec spec(DataType type) {
    MobaAttentionSpec.Builder builder =
        MobaAttentionSpec.builder()
            .dataType(type)
            .heads(Math.toIntExact(q.shape()[1]))
            .kvHeads(Math.toIntExact(k.shape()[1]))
            .headDim(Math.toIntExact(q.shape()[2]))
            .valueDim(Math.toIntExact(v.shape()[2]))
            .blockSize(blockSize)
            .topK(topK);
    if (!Float.isNaN(scale)) {
      builder.scale(scale);
    }
    return dout == null
        ? builder.modes(Mode.FORWARD).build()
        : builder.modes(Mode.FORWARD, Mode.BACKWARD).build();
  }

  @Override
  public void run(CaseTensors on) {
    DataType type = on.type();
    long rows = q.shape()[0];
    long heads = q.shape()[1];
    MobaAttention moba = on.prepare(spec(type));
    Tensor queries = on.input(q);
    Tensor keys = on.input(k);
    Tensor values = on.input(v);
    Tensor lengths = on.input(cuSeqlens);
    Tensor out = on.output("out", type, rows, heads, v.shape()[2]);
    Tensor lse = on.output("lse", DataType.F32, rows, heads);
    // With no more blocks than topK there is nothing to choose, and topK may be any number.
    Tensor selection =
        topK > 1 && (rows + blockSize - 1) / blockSize > topK
            ? on.output("selection", DataType.I32, rows, heads, topK - 1L)
            : null;
    moba.forward(
        on.stream(),
        MobaForward.of(queries, keys, values, lengths, out).lse(lse).selection(selection));
    if (dout != null) {
      moba.backward(
          on.stream(),
          MobaBackward.of(queries, keys, values, lengths, out, lse, on.input(dout))
              .selection(selection)
              .dq(on.output("dq", type, q.shape()))
              .dk(on.output("dk", type, k.shape()))
              .dv(on.output("dv", type, v.shape())));
    }
  }
}
