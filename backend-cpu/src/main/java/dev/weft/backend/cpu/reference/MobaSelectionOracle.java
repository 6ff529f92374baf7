package dev.weft.backend.cpu.reference;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/**
 * Judges reported block selections. First their form: ascending, distinct, past blocks only, as
 * many as there must be, then -1. Then their content: no chosen block may score below one that was
 * not chosen by more than both scores' bands.
 *
 * <p>Where nothing can have been rounded the order is exact, so there the lower index must win:
 * among scores of -inf (NaN counts as that), and among equal scores whose bands are 0.
 */
final class MobaSelectionOracle {
  private final MobaAttentionSpec spec;
  private final Elements selection;

  private MobaSelectionOracle(MobaAttentionSpec spec, Tensor selection) {
    this.spec = spec;
    this.selection = Elements.of(selection);
  }

  static Optional<String> packed(MobaAttentionSpec spec, MobaForward a, Tensor selection) {
    return new MobaSelectionOracle(spec, selection)
        .judge(
            MobaSequence.packed(a.cuSeqlens(), a.k(), a.v()),
            (s, kvHead) -> MobaHead.packed(spec, s, kvHead, true),
            a.q(),
            true);
  }

  /** Here the means are an input, so that only the dot products may err. */
  static Optional<String> paged(MobaAttentionSpec spec, MobaPaged a, Tensor selection) {
    return new MobaSelectionOracle(spec, selection)
        .judge(
            MobaSequence.paged(spec, a),
            (s, kvHead) -> MobaHead.paged(spec, s, kvHead),
            a.q(),
            false);
  }

  private Optional<String> judge(
      List<MobaSequence> sequences,
      BiFunction<MobaSequence, Integer, MobaHead> read,
      Tensor queries,
      boolean roundedMeans) {
    Elements q = Elements.of(queries);
    int slots = spec.topK() - 1;
    int group = spec.heads() / spec.kvHeads();
    for (MobaSequence sequence : slots == 0 ? List.<MobaSequence>of() : sequences) {
      for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
        MobaHead head = read.apply(sequence, kvHead);
        double[] rho = new double[head.means.length];
        if (roundedMeans) {
          meanErrors(head, rho);
        }
        for (int i = 0; i < sequence.queries(); i++) {
          int t = sequence.firstRow() + i;
          int position = sequence.firstPosition() + i;
          for (int h = kvHead * group; h < (kvHead + 1) * group; h++) {
            int[] reported = new int[slots];
            for (int slot = 0; slot < slots; slot++) {
              reported[slot] = selection.getInt(t, h, slot);
            }
            double[] query = MobaHead.row(q, t, h);
            boolean blind = sequence.keys() == 0 || head.isBlind(query, position);
            int own = blind ? 0 : position / spec.blockSize();
            String fault = malformed(reported, own);
            if (fault == null && own > slots) {
              fault = misjudged(head, rho, query, reported, own);
            }
            if (fault != null) {
              return Optional.of("token " + t + ", head " + h + ": " + fault);
            }
          }
        }
      }
    }
    return Optional.empty();
  }

  private @Nullable String malformed(int[] reported, int own) {
    int count = Math.min(reported.length, own);
    for (int slot = 0; slot < reported.length; slot++) {
      int block = reported[slot];
      boolean right =
          slot < count
              ? block >= 0 && block < own && (slot == 0 || block > reported[slot - 1])
              : block == -1;
      if (!right) {
        return "selection: expected "
            + count
            + " ascending blocks of 0.."
            + (own - 1)
            + ", then -1, but was "
            + Arrays.toString(reported);
      }
    }
    return null;
  }

  private @Nullable String misjudged(
      MobaHead head, double[] rho, double[] query, int[] reported, int own) {
    double[] scores = head.scores(query, own);
    double[] bands = new double[own];
    boolean[] chosen = new boolean[own];
    for (int block : reported) {
      chosen[block] = true;
    }
    for (int block = 0; block < own; block++) {
      scores[block] = MobaHead.value(scores[block]);
      bands[block] = band(head, rho, query, block);
    }
    int worstChosen = -1; // least of score + band
    int bestLeft = -1; // most of score - band
    for (int block = 0; block < own; block++) {
      if (chosen[block]) {
        if (worstChosen < 0 || high(scores, bands, block) <= high(scores, bands, worstChosen)) {
          worstChosen = block;
        }
      } else if (bestLeft < 0 || low(scores, bands, block) > low(scores, bands, bestLeft)) {
        bestLeft = block;
      }
    }
    double high = high(scores, bands, worstChosen);
    double low = low(scores, bands, bestLeft);
    boolean exact =
        Double.isInfinite(scores[worstChosen]) || (bands[worstChosen] == 0 && bands[bestLeft] == 0);
    if (high > low || (high == low && (!exact || worstChosen < bestLeft))) {
      return null;
    }
    return String.format(
        Locale.ROOT,
        "block %d (score %.9g, band %.3g) was chosen, but not block %d (score %.9g, band %.3g)"
            + " of %d past blocks",
        worstChosen,
        scores[worstChosen],
        bands[worstChosen],
        bestLeft,
        scores[bestLeft],
        bands[bestLeft],
        own);
  }

  private static double high(double[] scores, double[] bands, int block) {
    return Double.isInfinite(scores[block]) ? scores[block] : scores[block] + bands[block];
  }

  private static double low(double[] scores, double[] bands, int block) {
    return Double.isInfinite(scores[block]) ? scores[block] : scores[block] - bands[block];
  }

  /** band = sum |q| rho + g(D) sum |q| (|mean| + rho). */
  private double band(MobaHead head, double[] rho, double[] query, int block) {
    double means = 0;
    double products = 0;
    for (int c = 0; c < query.length; c++) {
      double size = Math.abs(query[c]);
      double error = rho[block * query.length + c];
      means += size * error;
      products += size * (Math.abs(head.means[block * query.length + c]) + error);
    }
    return means + ToleranceLaw.g(spec.headDim()) * products;
  }

  /**
   * What a mean may be off: rho = g(len) avg |k|, and one place of the storage type where that much
   * may push it over a rounding boundary.
   */
  private void meanErrors(MobaHead head, double[] rho) {
    DataType type = spec.dataType();
    int length = spec.blockSize();
    for (int i = 0; i < rho.length; i++) {
      int block = i / head.dim;
      double sum = 0;
      double magnitude = 0;
      for (int j = block * length; j < (block + 1) * length; j++) {
        double key = head.k[j * head.dim + i % head.dim];
        sum += key;
        magnitude += Math.abs(key);
      }
      double mean = sum / length;
      double error = ToleranceLaw.g(length) * magnitude / length;
      boolean nearBoundary = type.round(mean - error) != type.round(mean + error);
      rho[i] = error + (nearBoundary ? ulp(type, mean) : 0);
    }
  }

  private static double ulp(DataType type, double value) {
    double least = type == DataType.F16 ? 0x1p-24 : Float.MIN_VALUE;
    double place = Math.scalb(2 * type.unitRoundoff(), Math.getExponent(value));
    return Math.max(least, place);
  }
}
