package dev.weft.backend.cpu.reference;

import dev.weft.Tensor;
import dev.weft.backend.cpu.host.Elements;
import dev.weft.backend.cpu.moba.MobaSequence;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.spi.Expected;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The cache after an append, worked out beside the cache, which stays as it is. */
final class MobaAppendOracle {
  private final MobaAttentionSpec spec;
  private final MobaAppend a;
  private final ToleranceLaw law;
  private final double[] keys;
  private final double[] values;
  private final double[] means;
  private final double[] meanErrors;
  private final double[] meanRms;

  private MobaAppendOracle(MobaAttentionSpec spec, MobaAppend a) {
    this.spec = spec;
    this.a = a;
    law = ToleranceLaw.of(spec.dataType());
    keys = read(a.keyCache());
    values = read(a.valueCache());
    means = read(a.blockMeans());
    meanErrors = new double[means.length];
    meanRms = new double[means.length];
  }

  static Map<String, Expected> compute(MobaAttentionSpec spec, MobaAppend a) {
    MobaAppendOracle oracle = new MobaAppendOracle(spec, a);
    List<MobaSequence> sequences = MobaSequence.paged(spec, a);
    sequences.forEach(oracle::store);
    sequences.forEach(oracle::completeBlocks);
    Map<String, Expected> expected = new LinkedHashMap<>();
    expected.put("keyCache", Expected.exact(oracle.keys));
    expected.put("valueCache", Expected.exact(oracle.values));
    expected.put("blockMeans", new Expected(oracle.means, oracle.meanErrors, oracle.meanRms));
    return expected;
  }

  private static double[] read(Tensor cache) {
    Elements elements = Elements.of(cache);
    double[] all = new double[Math.toIntExact(cache.elements())];
    int at = 0;
    for (int page = 0; page < elements.size(0); page++) {
      for (int slot = 0; slot < elements.size(1); slot++) {
        for (int kvHead = 0; kvHead < elements.size(2); kvHead++) {
          for (int c = 0; c < elements.size(3); c++) {
            all[at++] = elements.get(page, slot, kvHead, c);
          }
        }
      }
    }
    return all;
  }

  private void store(MobaSequence sequence) {
    Elements k = Elements.of(a.k());
    Elements v = Elements.of(a.v());
    for (int position = sequence.firstPosition(); position < sequence.keys(); position++) {
      int page = sequence.page(position);
      long t = (long) sequence.firstRow() + position - sequence.firstPosition();
      for (int kvHead = 0; page >= 0 && kvHead < spec.kvHeads(); kvHead++) {
        for (int c = 0; c < spec.headDim(); c++) {
          keys[row(page, position, kvHead) * spec.headDim() + c] = k.get(t, kvHead, c);
        }
        for (int c = 0; c < spec.valueDim(); c++) {
          values[row(page, position, kvHead) * spec.valueDim() + c] = v.get(t, kvHead, c);
        }
      }
    }
  }

  private int row(int page, int position, int kvHead) {
    return (page * spec.pageSize() + position % spec.pageSize()) * spec.kvHeads() + kvHead;
  }

  private void completeBlocks(MobaSequence sequence) {
    int length = spec.blockSize();
    int dim = spec.headDim();
    for (int block = sequence.firstPosition() / length; block < sequence.keys() / length; block++) {
      int last = (block + 1) * length - 1;
      if (!isPresent(sequence, block)) {
        continue;
      }
      int slot = sequence.page(last) * spec.meansPerPage() + last % spec.pageSize() / length;
      for (int kvHead = 0; kvHead < spec.kvHeads(); kvHead++) {
        for (int c = 0; c < dim; c++) {
          double sum = 0;
          double magnitude = 0;
          double squares = 0;
          for (int j = block * length; j <= last; j++) {
            double key = keys[row(sequence.page(j), j, kvHead) * dim + c];
            sum += key;
            magnitude += Math.abs(key);
            squares += key * key;
          }
          double mean = sum / length;
          boolean finite = Double.isFinite(mean);
          double storing = law.stored(mean);
          int at = (slot * spec.kvHeads() + kvHead) * dim + c;
          means[at] = mean;
          meanErrors[at] = finite ? ToleranceLaw.g(length) * magnitude / length + storing : 0;
          meanRms[at] =
              finite ? ToleranceLaw.gRms(length) * Math.sqrt(squares) / length + storing : 0;
        }
      }
    }
  }

  private boolean isPresent(MobaSequence sequence, int block) {
    boolean present = true;
    for (int j = block * spec.blockSize(); j < (block + 1) * spec.blockSize(); j++) {
      present &= sequence.page(j) >= 0;
    }
    return present;
  }
}
