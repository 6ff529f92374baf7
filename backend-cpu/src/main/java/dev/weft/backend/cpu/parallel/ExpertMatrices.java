package dev.weft.backend.cpu.parallel;

import dev.weft.Tensor;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.moe.GateUpLayout;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeWeights;
import org.jspecify.annotations.Nullable;

/**
 * Where experts' weights lie, or where their gradients go: gates and ups as matrices of their own,
 * whatever the layout. The shared expert is expert 0 of a set of its own. Any tensor may be missing
 * from gradients.
 */
final class ExpertMatrices {
  private static final MatrixRows[] NONE = {};

  private final GateUpLayout layout;
  private final boolean gated;
  private final int width;
  private final boolean shared;
  private final @Nullable Elements joined;
  private final @Nullable Elements gate;
  private final @Nullable Elements up;
  private final @Nullable Elements firstBias;
  private final @Nullable Elements down;
  private final @Nullable Elements downBias;
  // For each expert, so that no launch makes them anew.
  private final @Nullable MatrixRows[] gates;
  private final @Nullable MatrixRows[] ups;
  // Of weights: what projects, the gates first, and what goes down, alone in an array.
  private final MatrixRows[][] projections;
  private final MatrixRows[][] downs;

  private ExpertMatrices(
      MoeDispatchSpec spec,
      boolean shared,
      int experts,
      @Nullable Tensor joined,
      @Nullable Tensor gate,
      @Nullable Tensor up,
      @Nullable Tensor firstBias,
      @Nullable Tensor down,
      @Nullable Tensor downBias) {
    layout = spec.gateUpLayout();
    gated = spec.activation().isGated();
    width = shared ? spec.sharedIntermediate() : spec.intermediate();
    this.shared = shared;
    this.joined = optional(joined);
    this.gate = optional(gate);
    this.up = optional(up);
    this.firstBias = optional(firstBias);
    this.down = optional(down);
    this.downBias = optional(downBias);
    gates = new @Nullable MatrixRows[experts];
    ups = new @Nullable MatrixRows[experts];
    projections = new MatrixRows[experts][];
    downs = new MatrixRows[experts][];
    for (int e = 0; e < experts; e++) {
      MatrixRows ownGate = findGate(e);
      MatrixRows ownUp = findUp(e);
      gates[e] = ownGate;
      ups[e] = ownUp;
      projections[e] =
          ownUp == null
              ? NONE
              : ownGate == null ? new MatrixRows[] {ownUp} : new MatrixRows[] {ownGate, ownUp};
      downs[e] = this.down == null ? NONE : new MatrixRows[] {matrix(this.down, e, 0, 1)};
    }
  }

  private static @Nullable Elements optional(@Nullable Tensor tensor) {
    return tensor == null ? null : Elements.of(tensor);
  }

  /** The experts of the local range. */
  static ExpertMatrices routed(MoeDispatchSpec spec, MoeWeights w) {
    return new ExpertMatrices(
        spec,
        false,
        spec.localExperts(),
        w.gateUp(),
        w.gate(),
        w.up(),
        w.gateUpBias(),
        w.down(),
        w.downBias());
  }

  /** The shared expert of a spec that has one. */
  static ExpertMatrices shared(MoeDispatchSpec spec, MoeWeights w) {
    return new ExpertMatrices(
        spec, true, 1, w.sharedGateUp(), null, null, null, w.sharedDown(), null);
  }

  /** The gradients of the local range's experts. */
  static ExpertMatrices routed(MoeDispatchSpec spec, MoeBackward a) {
    return new ExpertMatrices(
        spec,
        false,
        spec.localExperts(),
        a.dgateUp(),
        a.dgate(),
        a.dup(),
        a.dgateUpBias(),
        a.ddown(),
        a.ddownBias());
  }

  /** The gradients of the shared expert of a spec that has one. */
  static ExpertMatrices shared(MoeDispatchSpec spec, MoeBackward a) {
    return new ExpertMatrices(
        spec, true, 1, a.dsharedGateUp(), null, null, null, a.dsharedDown(), null);
  }

  boolean gated() {
    return gated;
  }

  /** I, or Is of the shared expert. */
  int width() {
    return width;
  }

  /** Of weights: the rows of an expert's gates, if there are any, and of its ups. */
  MatrixRows[] projections(int expert) {
    return projections[expert];
  }

  /** Of weights: the rows of an expert's down projection, alone in an array. */
  MatrixRows[] downs(int expert) {
    return downs[expert];
  }

  /** The rows of an expert's gates; null where there are none. */
  @Nullable MatrixRows gate(int expert) {
    return gates[expert];
  }

  /** The rows of an expert's ups. */
  @Nullable MatrixRows up(int expert) {
    return ups[expert];
  }

  /** The rows of an expert's down projection. */
  @Nullable MatrixRows down(int expert) {
    return downs[expert].length == 0 ? null : downs[expert][0];
  }

  private @Nullable MatrixRows findGate(int expert) {
    if (!gated) {
      return null;
    }
    if (joined == null) {
      return gate == null ? null : matrix(gate, expert, 0, 1);
    }
    return matrix(joined, expert, firstGate(), step());
  }

  private @Nullable MatrixRows findUp(int expert) {
    if (joined == null) {
      Elements own = up == null && !gated ? gate : up;
      return own == null ? null : matrix(own, expert, 0, 1);
    }
    return matrix(joined, expert, firstUp(), step());
  }

  /** Adds nothing and returns false where there is no bias. */
  boolean readGateBias(int expert, int from, int count, float[] into, int at) {
    return read(firstBias, expert, gated ? firstGate() : 0, from, count, into, at);
  }

  boolean readUpBias(int expert, int from, int count, float[] into, int at) {
    return read(firstBias, expert, firstUp(), from, count, into, at);
  }

  boolean readDownBias(int expert, int from, int count, float[] into, int at) {
    for (int i = 0; downBias != null && i < count; i++) {
      into[at + i] = downBias.getFloat(expert, (long) from + i);
    }
    return downBias != null;
  }

  private boolean read(
      @Nullable Elements bias, int expert, int first, int from, int count, float[] into, int at) {
    for (int i = 0; bias != null && i < count; i++) {
      into[at + i] = bias.getFloat(expert, first + (long) (from + i) * step());
    }
    return bias != null;
  }

  /** The gradients of an expert's biases; null where they are not wanted. */
  @Nullable Elements firstBias() {
    return firstBias;
  }

  @Nullable Elements downBias() {
    return downBias;
  }

  /** Where a gate's bias stands among an expert's. */
  int gateColumn(int i) {
    return firstGate() + i * step();
  }

  int upColumn(int i) {
    return firstUp() + i * step();
  }

  private int step() {
    return gated && layout == GateUpLayout.INTERLEAVED ? 2 : 1;
  }

  private int firstGate() {
    return layout == GateUpLayout.UP_FIRST ? width : 0;
  }

  private int firstUp() {
    if (!gated) {
      return 0;
    }
    return switch (layout) {
      case GATE_FIRST, SEPARATE -> width;
      case UP_FIRST -> 0;
      case INTERLEAVED -> 1;
    };
  }

  private MatrixRows matrix(Elements elements, int expert, int firstRow, int step) {
    int rank = elements.rank();
    long bytes = elements.dataType().bytes();
    long pitch = elements.stride(rank - 2) * bytes;
    long start = (shared ? elements.byteOffset(0) : elements.byteOffset(expert)) + firstRow * pitch;
    int length = Math.toIntExact(elements.size(rank - 1));
    return new MatrixRows(elements.dataType(), elements.segment(), start, pitch * step, length);
  }
}
