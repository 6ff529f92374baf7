package dev.weft.backend.cpu.reference;

import static dev.weft.backend.cpu.reference.MoeReference.elements;
import static dev.weft.backend.cpu.reference.MoeReference.optional;
import static dev.weft.backend.cpu.reference.MoeReference.rows;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import dev.weft.spi.Expected;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What a backward pass must give, and how far off it may be: from ids, weights, logits and (if
 * saved) z as given, by the stage rule. Of the stages the activation, the slot's output (for the
 * weight's gradient), dz and the slot's dx may be rounded to the storage type.
 */
final class MoeGradientOracle {
  private final MoeDispatchSpec spec;
  private final MoeBackward arguments;
  private final MoeWeights weights;
  private final RouterBounds router;
  private final ExpertFunction f;
  private final ToleranceLaw law;
  private final int topK;
  private final double[][] x;
  private final double[][] dy;
  private final int[][] ids;
  private final double[][] routing;
  private final Bounded[] drouting;
  // The parts of each token's dx, but for the router's: sums of their own, and products.
  private final List<List<Bounded>> dxParts = new ArrayList<>();
  private final Map<String, Expected> gradients = new LinkedHashMap<>();
  private final StageSum sum = new StageSum();

  MoeGradientOracle(MoeDispatchSpec spec, MoeBackward arguments) {
    this.spec = spec;
    this.arguments = arguments;
    weights = arguments.weights().weights();
    router = new RouterBounds(spec.router());
    f = new ExpertFunction(spec);
    law = ToleranceLaw.of(spec.dataType());
    topK = spec.topK();
    int tokens = MoeReference.tokens(arguments.x(), arguments.tokenCount());
    x = rows(arguments.x(), tokens);
    dy = rows(arguments.dy(), tokens);
    MoeSaved saved = arguments.saved();
    ids = MoeReferenceBackward.ids(saved.ids(), tokens);
    routing = rows(saved.routingWeights(), tokens);
    drouting = new Bounded[tokens];
    for (int t = 0; t < tokens; t++) {
      drouting[t] = new Bounded(topK);
      dxParts.add(new ArrayList<>());
    }
  }

  Map<String, Expected> gradients() {
    experts();
    Bounded[] sharedLogits = shared();
    Bounded[] dlogits = spec.router().hasLogits() ? router() : new Bounded[0];
    dx(sharedLogits, dlogits);
    BoundedRows dgivenWeights = BoundedRows.of(arguments.dgivenWeights());
    if (dgivenWeights != null) {
      for (int t = 0; t < x.length; t++) {
        dgivenWeights.set(t, drouting[t]);
      }
      gradients.put("dgivenWeights", dgivenWeights.stored(ToleranceLaw.of(DataType.F32)));
    }
    return gradients;
  }

  /** What one token gives to an expert's gradients. */
  @SuppressWarnings("ArrayRecordComponent") // inputs, compared by nobody
  private record Contribution(double[] x, Bounded dz, Bounded a, double[] dy, Bounded scale) {}

  private void experts() {
    Elements savedZ = optional(arguments.saved().z());
    int[] permutation = MoeReference.permutation(spec, ids);
    ExpertTensors tensors = ExpertTensors.routed(spec, weights);
    Outputs outputs =
        new Outputs(
            ProjectionLayout.experts(spec),
            gradient(arguments.dgateUp()),
            gradient(arguments.dgate()),
            gradient(arguments.dup()),
            gradient(arguments.dgateUpBias()),
            gradient(arguments.ddown()),
            gradient(arguments.ddownBias()));
    int p = 0;
    for (int local = 0; local < spec.localExperts(); local++) {
      List<Contribution> contributions = new ArrayList<>();
      ExpertBounds expert = null;
      for (; p < permutation.length && permutation[p] >= 0; p++) {
        int t = permutation[p] / topK;
        int k = permutation[p] % topK;
        if (ids[t][k] != local + spec.firstExpert()) {
          break;
        }
        if (expert == null) {
          expert = new ExpertBounds(Expert.read(tensors, local, spec.hidden()), f);
        }
        Bounded z = savedZ == null ? expert.project(x[t]) : Bounded.exact(row(savedZ, p));
        Bounded scale = Bounded.exact(new double[] {routing[t][k]});
        Bounded weight = contribute(expert, t, z, scale, contributions);
        drouting[t].set(k, weight.value[0], weight.error[0], weight.rms[0]);
      }
      outputs.put(local, spec.hidden(), contributions);
    }
    outputs.store("dgateUp", outputs.joined);
    outputs.store("dgate", outputs.gate);
    outputs.store("dup", outputs.up);
    outputs.store("dgateUpBias", outputs.firstBias);
    outputs.store("ddown", outputs.down);
    outputs.store("ddownBias", outputs.downBias);
  }

  /** One token through one expert, backwards; returns the gradient of its weight there. */
  private Bounded contribute(
      ExpertBounds expert, int t, Bounded z, Bounded scale, List<Contribution> contributions) {
    Bounded a = expert.activate(z).rounded(law);
    Bounded da = expert.downTransposed(dy[t]);
    Bounded weight = expert.weightGradient(dy[t], a, expert.down(a).rounded(law), da);
    Bounded scaled = new Bounded(da.size());
    for (int i = 0; i < da.size(); i++) {
      sum.clear();
      da.addTo(sum, i, scale, 0);
      scaled.set(i, sum);
    }
    Bounded dz = expert.activateTransposed(z, scaled).rounded(law);
    dxParts.get(t).add(expert.projectTransposed(dz).rounded(law));
    contributions.add(new Contribution(x[t], dz, a, dy[t], scale));
    return weight;
  }

  /** Returns the gradient of each token's shared gate before its sigmoid; empty without a gate. */
  private Bounded[] shared() {
    if (spec.sharedIntermediate() == 0) {
      return new Bounded[0];
    }
    double[] gateWeight = MoeReference.sharedGate(spec, weights);
    ExpertBounds expert =
        new ExpertBounds(Expert.read(ExpertTensors.shared(spec, weights), 0, spec.hidden()), f);
    List<Contribution> contributions = new ArrayList<>();
    Bounded[] dlogits = new Bounded[gateWeight.length == 0 ? 0 : x.length];
    for (int t = 0; t < x.length; t++) {
      Bounded scale = MoeOracle.sharedScale(router, x[t], gateWeight);
      Bounded dscale = contribute(expert, t, expert.project(x[t]), scale, contributions);
      if (gateWeight.length > 0) {
        dlogits[t] = new Bounded(1);
        Bounded logit = MoeOracle.sharedLogit(router, x[t], gateWeight);
        router.sigmoidGradient(dlogits[t], 0, logit, 0, dscale, 0);
      }
    }
    Outputs outputs =
        new Outputs(
            ProjectionLayout.shared(spec),
            gradient(arguments.dsharedGateUp()),
            null,
            null,
            null,
            gradient(arguments.dsharedDown()),
            null);
    outputs.put(0, spec.hidden(), contributions);
    outputs.store("dsharedGateUp", outputs.joined);
    outputs.store("dsharedDown", outputs.down);
    BoundedRows dgate = gradient(arguments.dsharedGateWeight());
    if (dgate != null) {
      columnSums(dgate, 0, dlogits, 0);
      outputs.store("dsharedGateWeight", dgate);
    }
    return dlogits;
  }

  /** Sets a row to the sum over tokens of one element of a vector times x. */
  private void columnSums(BoundedRows out, int row, Bounded[] factors, int element) {
    for (int h = 0; h < spec.hidden(); h++) {
      sum.clear();
      for (int t = 0; t < x.length; t++) {
        factors[t].addTo(sum, element, x[t][h]);
      }
      out.set(row, h, sum);
    }
  }

  private Bounded[] router() {
    double[][] logits = rows(elements(arguments.saved().logits()), x.length);
    Tensor auxiliary = arguments.auxiliaryDlogits();
    double[][] extra = auxiliary == null ? new double[0][] : rows(auxiliary, x.length);
    Bounded[] dlogits = new Bounded[x.length];
    for (int t = 0; t < x.length; t++) {
      dlogits[t] = router.dlogits(logits[t], ids[t], drouting[t]);
      for (int e = 0; extra.length > 0 && e < spec.experts(); e++) {
        sum.clear();
        dlogits[t].addTo(sum, e, 1);
        sum.add(1, extra[t][e]);
        dlogits[t].set(e, sum);
      }
    }
    BoundedRows out = BoundedRows.of(arguments.dlogits());
    if (out != null) {
      for (int t = 0; t < x.length; t++) {
        out.set(t, dlogits[t]);
      }
      gradients.put("dlogits", out.stored(ToleranceLaw.of(DataType.F32)));
    }
    BoundedRows dweight = gradient(arguments.drouterWeight());
    BoundedRows dbias = gradient(arguments.drouterBias());
    for (int e = 0; e < spec.experts(); e++) {
      if (dweight != null) {
        columnSums(dweight, e, dlogits, e);
      }
      if (dbias != null) {
        sum.clear();
        for (Bounded row : dlogits) {
          row.addTo(sum, e, 1);
        }
        dbias.set(0, e, sum);
      }
    }
    ToleranceLaw gradientLaw = ToleranceLaw.of(spec.gradientType());
    if (dweight != null) {
      gradients.put("drouterWeight", dweight.stored(gradientLaw));
    }
    if (dbias != null) {
      gradients.put("drouterBias", dbias.stored(gradientLaw));
    }
    return dlogits;
  }

  private void dx(Bounded[] sharedLogits, Bounded[] dlogits) {
    BoundedRows dx = BoundedRows.of(arguments.dx());
    if (dx == null) {
      return;
    }
    double[] gateWeight = MoeReference.sharedGate(spec, weights);
    double[][] routerWeight =
        weights.routerWeight() == null
            ? new double[0][]
            : rows(weights.routerWeight(), spec.experts());
    for (int t = 0; t < x.length; t++) {
      for (int h = 0; h < spec.hidden(); h++) {
        sum.clear();
        for (Bounded part : dxParts.get(t)) {
          part.addTo(sum, h, 1);
        }
        if (sharedLogits.length > 0) {
          sharedLogits[t].addTo(sum, 0, gateWeight[h]);
        }
        for (int e = 0; e < routerWeight.length; e++) {
          dlogits[t].addTo(sum, e, routerWeight[e][h]);
        }
        dx.set(t, h, sum);
      }
    }
    gradients.put("dx", dx.stored(law));
  }

  private @Nullable BoundedRows gradient(@Nullable Tensor tensor) {
    return BoundedRows.gradient(tensor, arguments.accumulate());
  }

  private static double[] row(Elements matrix, int row) {
    double[] values = new double[Math.toIntExact(matrix.size(1))];
    for (int i = 0; i < values.length; i++) {
      values[i] = matrix.get(row, i);
    }
    return values;
  }

  /** The gradients of experts' weights, of which any may be missing. */
  private final class Outputs {
    private final ProjectionLayout layout;
    private final @Nullable BoundedRows joined;
    private final @Nullable BoundedRows gate;
    private final @Nullable BoundedRows up;
    private final @Nullable BoundedRows firstBias;
    private final @Nullable BoundedRows down;
    private final @Nullable BoundedRows downBias;

    Outputs(
        ProjectionLayout layout,
        @Nullable BoundedRows joined,
        @Nullable BoundedRows gate,
        @Nullable BoundedRows up,
        @Nullable BoundedRows firstBias,
        @Nullable BoundedRows down,
        @Nullable BoundedRows downBias) {
      this.layout = layout;
      this.joined = joined;
      this.gate = gate;
      this.up = up;
      this.firstBias = firstBias;
      this.down = down;
      this.downBias = downBias;
    }

    void put(int expert, int hidden, List<Contribution> contributions) {
      for (int row = 0; row < layout.rows(); row++) {
        BoundedRows own = layout.inUp(row) ? up : gate;
        for (int h = 0; h < hidden; h++) {
          if (joined != null) {
            firstSum(contributions, row, h);
            joined.set(expert * layout.rows() + layout.stored(row), h, sum);
          }
          if (own != null) {
            int ownRow = layout.inUp(row) ? row - layout.width() : row;
            firstSum(contributions, row, h);
            own.set(expert * layout.width() + ownRow, h, sum);
          }
        }
        if (firstBias != null) {
          sum.clear();
          for (Contribution c : contributions) {
            c.dz.addTo(sum, row, 1);
          }
          firstBias.set(expert, layout.stored(row), sum);
        }
      }
      for (int h = 0; h < hidden; h++) {
        for (int i = 0; down != null && i < layout.width(); i++) {
          sum.clear();
          for (Contribution c : contributions) {
            double value = c.scale.value[0] * c.dy[h];
            double product = ToleranceLaw.g(1) * Math.abs(value);
            sum.add(
                value,
                Math.abs(c.dy[h]) * c.scale.error[0] + product,
                Math.abs(c.dy[h]) * c.scale.rms[0] + product,
                c.a.value[i],
                c.a.error[i],
                c.a.rms[i]);
          }
          down.set(expert * hidden + h, i, sum);
        }
        if (downBias != null) {
          sum.clear();
          for (Contribution c : contributions) {
            c.scale.addTo(sum, 0, c.dy[h]);
          }
          downBias.set(expert, h, sum);
        }
      }
    }

    private void firstSum(List<Contribution> contributions, int row, int h) {
      sum.clear();
      for (Contribution c : contributions) {
        c.dz.addTo(sum, row, c.x[h]);
      }
    }

    void store(String name, @Nullable BoundedRows rows) {
      if (rows != null) {
        gradients.put(name, rows.stored(ToleranceLaw.of(spec.gradientType())));
      }
    }
  }
}
