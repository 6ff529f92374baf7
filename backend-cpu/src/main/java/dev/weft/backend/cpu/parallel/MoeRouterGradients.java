package dev.weft.backend.cpu.parallel;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cpu.arithmetic.Arithmetic;
import dev.weft.backend.cpu.arithmetic.MatrixRows;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Objects;

/**
 * What the router gets in a backward pass: from the routing weights' gradients to x and its own.
 */
final class MoeRouterGradients {
  private static final int LANES = Arithmetic.LANES;
  private static final int RANGE = 4 * MoeBackwardWorkspace.BLOCK;
  private static final int TOKENS = 16;

  // Arrays of the scratch beyond those of the products.
  private static final int SUMS = 9;
  private static final int ROW = 11;

  // Arrays of the launch's scratch, beyond those of MoeRouting and CpuMoeBackward.
  private static final int LOGITS = 17;
  private static final int DLOGITS = 18;

  private final MoeDispatchSpec spec;
  private final Compute compute;
  private final Arithmetic arithmetic;
  private final MoeBackward arguments;
  private final MatrixRows dx;
  private final TaskScratch scratch;
  private final MatrixRows x;
  private final int tokens;

  /**
   * Takes a launch.
   *
   * @param dx of all tokens, to which the router's part is added
   * @param scratch the launch's
   * @param tokens how many there are
   */
  MoeRouterGradients(
      MoeDispatchSpec spec,
      Compute compute,
      MoeBackward arguments,
      MatrixRows dx,
      TaskScratch scratch,
      int tokens) {
    this.spec = spec;
    this.compute = compute;
    this.arguments = arguments;
    this.dx = dx;
    this.scratch = scratch;
    this.tokens = tokens;
    arithmetic = compute.arithmetic();
    x = MoeRows.of(arguments.x());
  }

  /**
   * Computes them.
   *
   * @param ids of the slots
   * @param drouting the gradients of the slots' weights
   * @param numbers from 0 on
   */
  void compute(int[] ids, float[] drouting, int[] numbers) {
    int experts = spec.experts();
    int topK = spec.topK();
    int count = Math.multiplyExact(tokens, experts);
    float[] logits = scratch.floats(LOGITS, count);
    MoeRows.read(compute, Objects.requireNonNull(arguments.saved().logits()), tokens, logits);
    float[] dlogits = scratch.floats(DLOGITS, count);
    Tensor auxiliary = arguments.auxiliaryDlogits();
    if (auxiliary == null) {
      Arrays.fill(dlogits, 0, count, 0);
    } else {
      MoeRows.read(compute, auxiliary, tokens, dlogits);
    }
    float[] correction = MoeRouting.correction(spec, arguments.weights().weights(), scratch);
    compute.share(
        Math.ceilDiv(tokens, TOKENS),
        (own, mine) -> {
          RouterChoice choice = new RouterChoice(spec.router(), correction, experts, topK, mine);
          for (int task = own.next(); task >= 0; task = own.next()) {
            for (int t = task * TOKENS; t < Math.min(tokens, (task + 1) * TOKENS); t++) {
              choice.addGradient(logits, t * experts, ids, drouting, t * topK, dlogits);
            }
          }
        });
    MoeRows.write(compute, arguments.dlogits(), dlogits, tokens);
    Tensor routerWeight = arguments.weights().weights().routerWeight();
    if (routerWeight == null) {
      return;
    }
    MatrixRows d =
        new MatrixRows(DataType.F32, MemorySegment.ofArray(dlogits), 0, 4L * experts, experts);
    weights(d, numbers);
    MatrixRows w = MoeRows.of(routerWeight);
    int ranges = Math.ceilDiv(spec.hidden(), RANGE);
    compute.run(
        Math.multiplyExact(Math.ceilDiv(tokens, LANES), ranges),
        (task, mine) -> {
          int first = task / ranges * LANES;
          int some = Math.min(LANES, tokens - first);
          int from = task % ranges * RANGE;
          int width = Math.min(RANGE, spec.hidden() - from);
          float[] sums = mine.floats(SUMS, width * LANES);
          float[] row = mine.floats(ROW, 2 * width);
          Arrays.fill(sums, 0, width * LANES, 0);
          new TransposedProjection(arithmetic, mine)
              .add(d, numbers, first, some, w, from, width, sums);
          for (int lane = 0; lane < some; lane++) {
            Panels.toRow(sums, lane, width, row, 0);
            arithmetic.read(
                dx.type(), dx.segment(), dx.offset(first + lane, from), row, width, width);
            arithmetic.addScaled(1, row, width, row, 0, width);
            arithmetic.write(dx.type(), row, 0, dx.segment(), dx.offset(first + lane, from), width);
          }
        });
  }

  private void weights(MatrixRows dlogits, int[] numbers) {
    Tensor dweight = arguments.drouterWeight();
    Tensor dbias = arguments.drouterBias();
    MatrixRows out = dweight == null ? null : MoeRows.of(dweight);
    Elements bias = dbias == null ? null : Elements.of(dbias);
    int step = 8;
    compute.run(
        Math.ceilDiv(spec.experts(), step),
        (task, mine) -> {
          int from = task * step;
          int height = Math.min(step, spec.experts() - from);
          float[] sums =
              new WeightGradient(arithmetic, mine, arguments.accumulate())
                  .compute(dlogits, numbers, 0, null, 0, x, numbers, 0, tokens, from, height, out);
          for (int i = 0; bias != null && i < height; i++) {
            double before = arguments.accumulate() ? bias.get(from + i) : 0;
            bias.set(from + i, before + sums[i]);
          }
        });
  }
}
