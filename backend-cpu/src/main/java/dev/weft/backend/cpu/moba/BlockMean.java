package dev.weft.backend.cpu.moba;

import dev.weft.DataType;
import java.util.Arrays;

/**
 * The mean of a block's keys: what {@code cpu} scores queries against, and what append stores. Both
 * come here, so that selections over the cache equal those of the unpaged form bit for bit. (The
 * oracle sums for itself, lest it share a mistake.)
 */
public final class BlockMean {
  private final DataType type;
  private final int headDim;
  private final int blockSize;
  private final float[] row;
  private final double[] sum;

  /**
   * Makes scratch for one thread.
   *
   * @param type the storage type
   * @param headDim D
   * @param blockSize keys per block
   */
  public BlockMean(DataType type, int headDim, int blockSize) {
    this(type, headDim, blockSize, new float[headDim], new double[headDim]);
  }

  /**
   * Takes scratch for one thread.
   *
   * @param type the storage type
   * @param headDim D
   * @param blockSize keys per block
   * @param row at least D elements of any content
   * @param sum at least D elements of any content
   */
  public BlockMean(DataType type, int headDim, int blockSize, float[] row, double[] sum) {
    this.type = type;
    this.headDim = headDim;
    this.blockSize = blockSize;
    this.row = row;
    this.sum = sum;
  }

  /**
   * Sums the keys of a complete block in float64 by ascending position, divides, and rounds once.
   *
   * @param into D elements from {@code at} are written
   * @return false, with nothing written, where a key of the block is absent
   */
  public boolean compute(MobaSequence sequence, int block, int kvHead, float[] into, int at) {
    Arrays.fill(sum, 0, headDim, 0);
    int start = block * blockSize;
    for (int i = 0; i < blockSize; i++) {
      if (!sequence.copyKey(start + i, kvHead, row, 0)) {
        return false;
      }
      for (int c = 0; c < headDim; c++) {
        sum[c] += row[c];
      }
    }
    for (int c = 0; c < headDim; c++) {
      into[at + c] = (float) type.round(sum[c] / blockSize);
    }
    return true;
  }
}
