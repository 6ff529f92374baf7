package dev.weft.backend.cpu.reference;

import static dev.weft.backend.cpu.reference.MoeReference.elements;
import static dev.weft.backend.cpu.reference.MoeReference.rows;
import static dev.weft.backend.cpu.reference.MoeReference.vector;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.RouterSpec.Source;
import dev.weft.spi.Expected;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What a mixture of experts must give, and how far off it may be.
 *
 * <p>Errors follow the stage rule through the whole chain: logits, scores, weights; projection
 * (rounded if it is saved), activation (may be rounded), slot output (may be rounded), combination.
 * The shared expert counts as one more slot.
 */
final class MoeOracle {
  private static final ToleranceLaw F32 = ToleranceLaw.of(DataType.F32);

  private final MoeDispatchSpec spec;
  private final MoeForward arguments;
  private final MoeWeights weights;
  private final RouterBounds router;
  private final ExpertFunction f;
  private final ToleranceLaw law;
  private final double[][] x;
  private final int[][] ids;
  private final Bounded[] logits;
  private final Bounded[] routing;

  private MoeOracle(MoeDispatchSpec spec, MoeForward arguments, @Nullable Tensor reported) {
    this.spec = spec;
    this.arguments = arguments;
    weights = arguments.weights().weights();
    router = new RouterBounds(spec.router());
    f = new ExpertFunction(spec);
    law = ToleranceLaw.of(spec.dataType());
    int tokens = MoeReference.tokens(arguments.x(), arguments.tokenCount());
    x = rows(arguments.x(), tokens);
    boolean given = spec.router().source() == Source.GIVEN;
    logits = given ? new Bounded[0] : logits(spec, arguments, x);
    Tensor chosen = given ? arguments.givenIds() : reported;
    ids = chosen == null ? choose() : MoeReferenceBackward.ids(chosen, tokens);
    routing = new Bounded[tokens];
    double[][] givenWeights = given ? rows(elements(arguments.givenWeights()), tokens) : x;
    for (int t = 0; t < tokens; t++) {
      routing[t] =
          given ? Bounded.exact(givenWeights[t]) : router.weights(router.scores(logits[t]), ids[t]);
    }
  }

  static Map<String, Expected> forward(
      MoeDispatchSpec spec, MoeForward arguments, @Nullable Tensor ids) {
    return new MoeOracle(spec, arguments, ids).forward();
  }

  static Optional<String> selectionFault(MoeDispatchSpec spec, MoeForward arguments, Tensor ids) {
    if (!spec.router().hasLogits()) {
      return Optional.empty();
    }
    int tokens = MoeReference.tokens(arguments.x(), arguments.tokenCount());
    Bounded[] logits = logits(spec, arguments, rows(arguments.x(), tokens));
    double[] bias = correctionBias(spec, arguments.weights().weights());
    int[][] chosen = MoeReferenceBackward.ids(ids, tokens);
    for (int t = 0; t < tokens; t++) {
      Optional<String> fault =
          new MoeSelectionOracle(spec.router(), logits[t], bias).fault(chosen[t]);
      if (fault.isPresent()) {
        return Optional.of("token " + t + ", " + fault.get());
      }
    }
    return Optional.empty();
  }

  static Map<String, Expected> backward(MoeDispatchSpec spec, MoeBackward arguments) {
    return new MoeGradientOracle(spec, arguments).gradients();
  }

  private static Bounded[] logits(MoeDispatchSpec spec, MoeForward arguments, double[][] x) {
    Bounded[] logits = new Bounded[x.length];
    if (spec.router().source() == Source.LOGITS) {
      double[][] given = rows(elements(arguments.givenLogits()), x.length);
      for (int t = 0; t < x.length; t++) {
        logits[t] = Bounded.exact(given[t]);
      }
      return logits;
    }
    MoeWeights weights = arguments.weights().weights();
    double[][] rows = rows(elements(weights.routerWeight()), spec.experts());
    double[] bias =
        spec.router().routerBias() ? vector(elements(weights.routerBias())) : new double[0];
    RouterBounds router = new RouterBounds(spec.router());
    for (int t = 0; t < x.length; t++) {
      logits[t] = router.logits(x[t], rows, bias);
    }
    return logits;
  }

  private static double[] correctionBias(MoeDispatchSpec spec, MoeWeights weights) {
    return spec.router().correctionBias()
        ? vector(elements(weights.correctionBias()))
        : new double[0];
  }

  private int[][] choose() {
    double[] bias = correctionBias(spec, weights);
    int[][] chosen = new int[x.length][];
    for (int t = 0; t < x.length; t++) {
      chosen[t] =
          ExpertChoice.choose(
              spec.router(), spec.topK(), logits[t].value, bias.length == 0 ? null : bias);
    }
    return chosen;
  }

  private Map<String, Expected> forward() {
    Map<String, Expected> outputs = new LinkedHashMap<>();
    MoeSaved saved = arguments.saved();
    int[] permutation = MoeReference.permutation(spec, ids);
    Bounded[] slots = slots(permutation, saved == null ? null : saved.z(), outputs);
    outputs.put("y", combined(slots));
    routing("routingWeights", arguments.routingWeights(), outputs);
    logits("logits", arguments.logits(), outputs);
    Tensor counts = arguments.counts();
    if (counts != null) {
      outputs.put("counts", exact(counts, MoeReference.counts(spec, ids)));
    }
    if (saved != null) {
      int[] whole = new int[Math.toIntExact(saved.permutation().elements())];
      Arrays.fill(whole, -1);
      System.arraycopy(permutation, 0, whole, 0, permutation.length);
      outputs.put("saved.permutation", exact(saved.permutation(), whole));
      routing("saved.routingWeights", saved.routingWeights(), outputs);
      logits("saved.logits", saved.logits(), outputs);
    }
    return outputs;
  }

  /** Each slot's output before its weight; null for slots that nobody computes here. */
  private Bounded[] slots(
      int[] permutation, @Nullable Tensor savedZ, Map<String, Expected> outputs) {
    Bounded[] slots = new Bounded[permutation.length];
    BoundedRows zRows = BoundedRows.of(savedZ);
    ExpertTensors tensors = ExpertTensors.routed(spec, weights);
    ExpertBounds expert = null;
    int loaded = -1;
    for (int p = 0; p < permutation.length && permutation[p] >= 0; p++) {
      int t = permutation[p] / spec.topK();
      int id = ids[t][permutation[p] % spec.topK()];
      if (expert == null || id != loaded) {
        expert = new ExpertBounds(Expert.read(tensors, id - spec.firstExpert(), spec.hidden()), f);
        loaded = id;
      }
      Bounded z = expert.project(x[t]);
      if (zRows != null) {
        zRows.set(p, z);
        z.rounded(law);
      }
      slots[permutation[p]] = expert.down(expert.activate(z).rounded(law)).rounded(law);
    }
    if (zRows != null) {
      outputs.put("saved.z", zRows.stored(law));
    }
    return slots;
  }

  private Expected combined(Bounded[] slots) {
    int topK = spec.topK();
    BoundedRows y = Objects.requireNonNull(BoundedRows.of(arguments.y()));
    ExpertBounds shared =
        spec.sharedIntermediate() > 0
            ? new ExpertBounds(
                Expert.read(ExpertTensors.shared(spec, weights), 0, spec.hidden()), f)
            : null;
    double[] gateWeight = MoeReference.sharedGate(spec, weights);
    StageSum sum = new StageSum();
    for (int t = 0; t < x.length; t++) {
      Bounded scale = sharedScale(router, x[t], gateWeight);
      Bounded extra =
          shared == null
              ? null
              : shared.down(shared.activate(shared.project(x[t])).rounded(law)).rounded(law);
      for (int h = 0; h < spec.hidden(); h++) {
        sum.clear();
        for (int k = 0; k < topK; k++) {
          Bounded slot = slots[t * topK + k];
          if (slot != null) {
            slot.addTo(sum, h, routing[t], k);
          }
        }
        if (extra != null) {
          extra.addTo(sum, h, scale, 0);
        }
        y.set(t, h, sum);
      }
    }
    return y.stored(law);
  }

  /** What the shared expert's output is multiplied with: 1, or sigmoid(x . g). */
  static Bounded sharedScale(RouterBounds router, double[] x, double[] gateWeight) {
    Bounded scale = Bounded.exact(new double[] {1});
    if (gateWeight.length > 0) {
      RouterBounds.sigmoid(scale, 0, sharedLogit(router, x, gateWeight), 0);
    }
    return scale;
  }

  /** x . g. */
  static Bounded sharedLogit(RouterBounds router, double[] x, double[] gateWeight) {
    return router.logits(x, new double[][] {gateWeight}, new double[0]);
  }

  private void routing(String name, @Nullable Tensor tensor, Map<String, Expected> outputs) {
    BoundedRows rows = BoundedRows.of(tensor);
    if (rows != null) {
      for (int t = 0; t < x.length; t++) {
        rows.set(t, routing[t]);
      }
      outputs.put(name, spec.router().source() == Source.GIVEN ? rows.exact() : rows.stored(F32));
    }
  }

  private void logits(String name, @Nullable Tensor tensor, Map<String, Expected> outputs) {
    BoundedRows rows = BoundedRows.of(tensor);
    if (rows != null) {
      for (int t = 0; t < x.length; t++) {
        rows.set(t, logits[t]);
      }
      outputs.put(name, spec.router().source() == Source.LOGITS ? rows.exact() : rows.stored(F32));
    }
  }

  private static Expected exact(Tensor tensor, int[] values) {
    double[] exact = new double[Math.toIntExact(tensor.elements())];
    for (int i = 0; i < exact.length; i++) {
      exact[i] = values[i];
    }
    return Expected.exact(exact);
  }
}
