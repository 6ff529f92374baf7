package dev.weft.backend.cpu.reference;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeWeights;
import org.jspecify.annotations.Nullable;

/**
 * Where experts' weights are read, or their gradients written, row by row and whatever the layout:
 * rows of the first projection are counted as {@link ProjectionLayout} does. The shared expert is
 * expert 0 of a set of its own. To be made and used inside the work that a stream runs.
 */
final class ExpertTensors {
  private final ProjectionLayout layout;
  private final boolean shared;
  private final @Nullable Elements joined;
  private final @Nullable Elements gate;
  private final @Nullable Elements up;
  private final @Nullable Elements firstBias;
  private final @Nullable Elements down;
  private final @Nullable Elements downBias;

  private ExpertTensors(
      ProjectionLayout layout,
      boolean shared,
      @Nullable Tensor joined,
      @Nullable Tensor gate,
      @Nullable Tensor up,
      @Nullable Tensor firstBias,
      @Nullable Tensor down,
      @Nullable Tensor downBias) {
    this.layout = layout;
    this.shared = shared;
    this.joined = optional(joined);
    this.gate = optional(gate);
    this.up = optional(up);
    this.firstBias = optional(firstBias);
    this.down = optional(down);
    this.downBias = optional(downBias);
  }

  /**
   * The experts of the local range.
   *
   * @param spec the spec
   * @param weights their weights
   * @return their tensors
   */
  public static ExpertTensors routed(MoeDispatchSpec spec, MoeWeights weights) {
    return new ExpertTensors(
        ProjectionLayout.experts(spec),
        false,
        weights.gateUp(),
        weights.gate(),
        weights.up(),
        weights.gateUpBias(),
        weights.down(),
        weights.downBias());
  }

  /**
   * The shared expert.
   *
   * @param spec a spec that has one
   * @param weights the weights
   * @return its tensors
   */
  public static ExpertTensors shared(MoeDispatchSpec spec, MoeWeights weights) {
    return new ExpertTensors(
        ProjectionLayout.shared(spec),
        true,
        weights.sharedGateUp(),
        null,
        null,
        null,
        weights.sharedDown(),
        null);
  }

  /**
   * The gradients of the local range's experts.
   *
   * @param spec the spec
   * @param gradients a launch's arguments
   * @return their tensors, of which any may be missing
   */
  public static ExpertTensors routed(MoeDispatchSpec spec, MoeBackward gradients) {
    return new ExpertTensors(
        ProjectionLayout.experts(spec),
        false,
        gradients.dgateUp(),
        gradients.dgate(),
        gradients.dup(),
        gradients.dgateUpBias(),
        gradients.ddown(),
        gradients.ddownBias());
  }

  /**
   * The gradients of the shared expert.
   *
   * @param spec a spec that has one
   * @param gradients a launch's arguments
   * @return its tensors, of which any may be missing
   */
  public static ExpertTensors shared(MoeDispatchSpec spec, MoeBackward gradients) {
    return new ExpertTensors(
        ProjectionLayout.shared(spec),
        true,
        gradients.dsharedGateUp(),
        null,
        null,
        null,
        gradients.dsharedDown(),
        null);
  }

  /**
   * Returns how rows are counted.
   *
   * @return the layout
   */
  public ProjectionLayout layout() {
    return layout;
  }

  /**
   * Finds a row of a first projection.
   *
   * @param expert the expert
   * @param row gates first, then ups
   * @return the row; null if its tensor is not there
   */
  public @Nullable Row first(int expert, int row) {
    if (joined != null) {
      return row(joined, expert, layout.stored(row));
    }
    Elements own = layout.inUp(row) ? up : gate;
    return row(own, expert, layout.inUp(row) ? row - layout.width() : row);
  }

  /**
   * Finds a row of a down projection.
   *
   * @param expert the expert
   * @param h the row
   * @return the row; null if there is no such tensor
   */
  public @Nullable Row down(int expert, int h) {
    return row(down, expert, h);
  }

  /**
   * Finds the biases of a first projection.
   *
   * @param expert the expert
   * @return them, to be indexed by {@link ProjectionLayout#stored}; null if there are none
   */
  public @Nullable Row firstBias(int expert) {
    return firstBias == null ? null : new Row(firstBias, expert, -1);
  }

  /**
   * Finds the biases of a down projection.
   *
   * @param expert the expert
   * @return them; null if there are none
   */
  public @Nullable Row downBias(int expert) {
    return downBias == null ? null : new Row(downBias, expert, -1);
  }

  private @Nullable Row row(@Nullable Elements elements, int expert, int row) {
    if (elements == null) {
      return null;
    }
    return shared ? new Row(elements, row, -1) : new Row(elements, expert, row);
  }

  private static @Nullable Elements optional(@Nullable Tensor tensor) {
    return tensor == null ? null : Elements.of(tensor);
  }

  /**
   * A row of a matrix, or of a tensor of rank 3.
   *
   * @param elements the tensor
   * @param i the outermost index
   * @param j the next index; -1 in a matrix
   */
  public record Row(Elements elements, long i, long j) {
    /**
     * Reads the row.
     *
     * @param into takes it
     * @param at from here on
     */
    public void read(float[] into, int at) {
      if (j < 0) {
        elements.copyRow(into, at, i);
      } else {
        elements.copyRow(into, at, i, j);
      }
    }

    /**
     * Writes the row.
     *
     * @param from holds it
     */
    public void write(float[] from) {
      if (j < 0) {
        elements.setRow(from, 0, i);
      } else {
        elements.setRow(from, 0, i, j);
      }
    }

    /**
     * Reads an element.
     *
     * @param k its index
     * @return the element
     */
    public double get(int k) {
      return j < 0 ? elements.get(i, k) : elements.get(i, j, k);
    }

    /**
     * Writes an element.
     *
     * @param k its index
     * @param value rounded once
     */
    public void set(int k, double value) {
      if (j < 0) {
        elements.set(i, k, value);
      } else {
        elements.set(i, j, k, value);
      }
    }

    /**
     * Writes elements, or adds to them.
     *
     * @param from holds them
     * @param at from here on
     * @param count how many
     * @param accumulate whether to add to what is there
     */
    void put(double[] from, int at, int count, boolean accumulate) {
      for (int k = 0; k < count; k++) {
        set(k, accumulate ? get(k) + from[at + k] : from[at + k]);
      }
    }
  }
}
