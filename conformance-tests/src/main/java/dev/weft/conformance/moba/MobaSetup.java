package dev.weft.conformance.moba;

import static dev.weft.DataType.F32;
import static dev.weft.DataType.I32;

import dev.weft.DataType;
import dev.weft.conformance.CaseContext;
import dev.weft.conformance.Operand;
import dev.weft.conformance.Placement;
import dev.weft.conformance.Profile;
import dev.weft.conformance.Values;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaAttentionSpec.Mode;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What a MoBA case runs on: the spec, the sequences and what the tensors hold. Its methods change
 * it and return it; once its case is made it is left alone.
 */
final class MobaSetup {
  final DataType type;
  final int heads;
  final int kvHeads;
  final int dim;
  final int block;
  final int topK;
  final int[] lengths;

  int valueDim;
  int padding = 3;
  Placement placement = Placement.CONTIGUOUS;
  Profile[] profiles = {};
  boolean packed;
  boolean lse = true;
  boolean selection = true;
  boolean dq = true;
  boolean dk = true;
  boolean dv = true;

  private float scale = Float.NaN;
  private boolean repeatable = true;
  private long workspaceLimit = Long.MAX_VALUE;
  private @Nullable Values q;
  private @Nullable Values k;
  private @Nullable Values v;

  MobaSetup(DataType type, int heads, int kvHeads, int dim, int block, int topK, int... lengths) {
    this.type = type;
    this.heads = heads;
    this.kvHeads = kvHeads;
    this.dim = dim;
    this.block = block;
    this.topK = topK;
    this.lengths = lengths;
    valueDim = dim;
  }

  MobaSetup valueDim(int newValueDim) {
    valueDim = newValueDim;
    return this;
  }

  /** Puts rows, or pages, beyond 2^32 elements. */
  MobaSetup far() {
    return padding(0).place(Placement.FAR).profiles(Profile.LARGE);
  }

  MobaSetup scale(double newScale) {
    scale = (float) newScale;
    return this;
  }

  /** Sets how many rows follow the last sequence; they hold NaN. */
  MobaSetup padding(int rows) {
    padding = rows;
    return this;
  }

  MobaSetup place(Placement newPlacement) {
    placement = newPlacement;
    return this;
  }

  /** Makes q, k and v (and their gradients) parts of one tensor. */
  MobaSetup packed() {
    packed = true;
    return this;
  }

  MobaSetup profiles(Profile... newProfiles) {
    profiles = newProfiles;
    return this;
  }

  /** Sets which optional outputs of forward are asked for. */
  MobaSetup outputs(boolean wantsLse, boolean wantsSelection) {
    lse = wantsLse;
    selection = wantsSelection;
    return this;
  }

  /** Sets which gradients are asked for. */
  MobaSetup gradients(boolean wantsQ, boolean wantsK, boolean wantsV) {
    dq = wantsQ;
    dk = wantsK;
    dv = wantsV;
    return this;
  }

  MobaSetup unrepeatable() {
    repeatable = false;
    return this;
  }

  MobaSetup workspaceLimit(long bytes) {
    workspaceLimit = bytes;
    return this;
  }

  MobaSetup q(Values values) {
    q = values;
    return this;
  }

  MobaSetup k(Values values) {
    k = values;
    return this;
  }

  MobaSetup v(Values values) {
    v = values;
    return this;
  }

  MobaAttentionSpec spec(Mode mode) {
    MobaAttentionSpec.Builder builder =
        MobaAttentionSpec.builder()
            .dataType(type)
            .heads(heads)
            .kvHeads(kvHeads)
            .headDim(dim)
            .valueDim(valueDim)
            .blockSize(block)
            .topK(topK)
            .repeatableBackward(repeatable)
            .workspaceLimit(workspaceLimit)
            .modes(mode);
    return (Float.isNaN(scale) ? builder : builder.scale(scale)).build();
  }

  /** Returns the tokens of all sequences. */
  int used() {
    return Arrays.stream(lengths).sum();
  }

  /** Returns T, padding included. */
  int tokens() {
    return used() + padding;
  }

  int[] cuSeqlens() {
    int[] starts = new int[lengths.length + 1];
    for (int b = 0; b < lengths.length; b++) {
      starts[b + 1] = starts[b] + lengths[b];
    }
    return starts;
  }

  String sizes() {
    return "T="
        + tokens()
        + ",H="
        + heads
        + (kvHeads == heads ? "" : ",Hkv=" + kvHeads)
        + ",D="
        + dim
        + (valueDim == dim ? "" : ",Dv=" + valueDim)
        + ",B="
        + block
        + ",k="
        + topK;
  }

  /** Returns the products of all scores and sums of values, roughly. */
  long flops() {
    long pairs = 0;
    for (int length : lengths) {
      for (int i = 0; i < length; i++) {
        int own = i / block;
        pairs += Math.min(topK - 1, own) * (long) block + i % block + 1;
        pairs += topK > 1 && own > topK - 1 ? own : 0;
      }
    }
    return 2 * pairs * heads * (dim + valueDim);
  }

  /** The inputs that every unpaged launch has. */
  record Inputs(Operand q, Operand k, Operand v, Operand cuSeqlens) {}

  Inputs draw(CaseContext c) {
    CaseContext.TensorOf queries = rows(c, "q", q, heads, dim);
    CaseContext.TensorOf keys = rows(c, "k", k, kvHeads, dim);
    CaseContext.TensorOf values = rows(c, "v", v, kvHeads, valueDim);
    Operand cu = c.ints("cuSeqlens", cuSeqlens());
    if (packed) {
      List<Operand> parts = c.packInputs(queries, keys, values);
      return new Inputs(parts.get(0), parts.get(1), parts.get(2), cu);
    }
    return new Inputs(queries.input(), keys.input(), values.input(), cu);
  }

  private CaseContext.TensorOf rows(
      CaseContext c, String name, @Nullable Values values, int heads, int width) {
    return gradient(c, name, values == null ? c.testCase().family().draws() : values, heads, width);
  }

  /** Describes a [T, heads, width] input, NaN in its padding. */
  CaseContext.TensorOf gradient(CaseContext c, String name, Values values, int heads, int width) {
    return c.tensor(name, type, tokens(), heads, width)
        .values(values.rows(used(), tokens(), Double.NaN));
  }

  CaseContext.TensorOf outTensor(CaseContext c) {
    return c.tensor("out", type, tokens(), heads, valueDim);
  }

  CaseContext.TensorOf lseTensor(CaseContext c) {
    return c.tensor("lse", F32, tokens(), heads);
  }

  CaseContext.TensorOf selectionTensor(CaseContext c) {
    return c.tensor("selection", I32, tokens(), heads, topK - 1);
  }
}
