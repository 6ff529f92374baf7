package dev.weft.backend.cpu.arithmetic;

import dev.weft.DataType;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * What the operations of {@code cpu} are made of.
 *
 * <p>Matrix products work on <em>panels</em>: {@link #LANES} columns, each row contiguous, so that
 * element (k, lane) lies at {@code at + k * LANES + lane}. The lanes of a panel are what becomes
 * vectors: tokens, query rows or channels, never the dimension that is summed over. So no result
 * needs a sum across a vector, and each is one chain of multiply-adds whose order depends on
 * nothing but the depth: not on the number of rows, of lanes or of threads.
 *
 * <p>Immutable and safe for use by several threads. Both implementations give the same bits whether
 * interpreted or compiled; they need not give the same bits as each other.
 */
public sealed interface Arithmetic permits ScalarArithmetic, VectorArithmetic {
  /** Columns of a panel; a multiple of every vector length there is. */
  int LANES = 64;

  /** Elements of scratch that dot products take beyond four rows. */
  int DOT_SLACK = 8 * LANES;

  /** Elements that column-wise products may read behind the end of a matrix, never use. */
  int SLACK = 16;

  /**
   * Takes vectors where the JVM has them, else plain loops.
   *
   * @return the arithmetic of this machine
   */
  static Arithmetic ofThisMachine() {
    return VectorModule.isThere() ? VectorArithmetic.orScalar() : new ScalarArithmetic();
  }

  /**
   * Says what runs.
   *
   * @return a line for people
   */
  String description();

  /**
   * Tells whether vectors are used.
   *
   * @return false for plain loops
   */
  boolean isVector();

  /**
   * Rounds a number of lanes up to what a product computes at once.
   *
   * @param lanes at most {@link #LANES}
   * @return a multiple of the vector length, at most {@link #LANES}
   */
  int wholeVectors(int lanes);

  /**
   * Reads contiguous elements, widened exactly.
   *
   * @param type F32, F16 or BF16
   * @param from the memory
   * @param offset of the first, in bytes, aligned to the element
   * @param into takes them
   * @param at from here on
   * @param count how many
   */
  void read(DataType type, MemorySegment from, long offset, float[] into, int at, int count);

  /**
   * Writes contiguous elements, each rounded once to nearest even.
   *
   * @param type F32, F16 or BF16
   * @param from holds them
   * @param at from here on
   * @param into the memory
   * @param offset of the first, in bytes, aligned to the element
   * @param count how many
   */
  void write(DataType type, float[] from, int at, MemorySegment into, long offset, int count);

  /**
   * C += A B with A by rows: {@code c[i, lane] += sum over k of a[aAt + i * aPitch + k] * b[k,
   * lane]}. The sum starts at 0 and is then added to c.
   *
   * @param rows of A and C
   * @param depth columns of A, rows of B
   * @param lanes a multiple of the vector length
   * @param b a panel from {@code bAt}
   * @param c a panel from {@code cAt}
   */
  void multiplyRows(
      int rows,
      int depth,
      int lanes,
      float[] a,
      int aAt,
      int aPitch,
      float[] b,
      int bAt,
      float[] c,
      int cAt);

  /**
   * C += A^T B with A^T by columns: {@code c[i, lane] += sum over k of a[aAt + k * aPitch + i] *
   * b[k, lane]}. May read {@link #SLACK} elements behind those named.
   *
   * @param rows of C
   * @param depth rows of A and B
   * @param lanes a multiple of the vector length
   * @param b a panel from {@code bAt}
   * @param c a panel from {@code cAt}
   */
  void multiplyColumns(
      int rows,
      int depth,
      int lanes,
      float[] a,
      int aAt,
      int aPitch,
      float[] b,
      int bAt,
      float[] c,
      int cAt);

  /**
   * Dot products of matrix rows in memory with a few dense rows: {@code out[x * outPitch + r] =
   * matrix[r] . x}. For as few rows that streaming the matrix is what takes time.
   *
   * @param matrix the rows
   * @param firstRow the first
   * @param rows how many
   * @param x dense rows of {@code matrix.length()} from 0 on, {@code xPitch} apart
   * @param count how many dense rows
   * @param scratch at least 4 rows and {@link #DOT_SLACK}, of any content
   */
  void dots(
      MatrixRows matrix,
      int firstRow,
      int rows,
      float[] x,
      int xPitch,
      int count,
      float[] out,
      int outAt,
      int outPitch,
      float[] scratch);

  /** A dot product. */
  float dot(float[] a, int aAt, float[] b, int bAt, int count);

  /** {@code into[i] += factor * from[i]}. */
  void addScaled(float factor, float[] from, int fromAt, float[] into, int at, int count);

  /** {@code into[i] = into[i] * scale + factor * from[i]}. */
  void scaleAndAdd(
      float scale, float factor, float[] from, int fromAt, float[] into, int at, int count);

  /** Replaces numbers by their exponentials; within 2 ulp, gradual underflow included. */
  void exp(float[] x, int at, int count);

  /**
   * The same bit for bit, one by one, for a few numbers between other work: in a caller that C2
   * compiles before it has seen the loop run, vectors of it would be objects.
   */
  void expOfFew(float[] x, int at, int count);

  /**
   * One step of an online softmax for each lane of a panel of scores: scales the scores, raises the
   * running maxima, replaces scores by exp(score - maximum), and adds to the running sums.
   * Probabilities below 2^-126 become 0.
   *
   * @param scores a panel from 0 on: a row for each key, and one more to use
   * @param keys how many
   * @param lanes a multiple of the vector length
   * @param visible for each lane how many of the keys it sees; null if all see all
   * @param max the running maxima, -inf at first
   * @param sum the running sums
   * @param correction takes what older sums and weighted values have to be multiplied with; 1 where
   *     the maximum stays
   */
  void softmaxStep(
      float[] scores,
      int keys,
      int lanes,
      float scale,
      int @Nullable [] visible,
      float[] max,
      float[] sum,
      float[] correction);

  /**
   * Multiplies each lane of a panel by its own factor, where any is not 1.
   *
   * @param panel from 0 on
   * @param factors one for each lane
   */
  void scaleLanes(float[] panel, int rows, int lanes, float[] factors);

  /**
   * For attention's backward, for each lane: p = exp(scale * s - lse), ds = p * (dp - delta).
   * Probabilities below 2^-126 become 0.
   *
   * @param scores a panel of q.k; takes p
   * @param dp a panel of dout.v; takes ds
   * @param visible for each lane how many of the keys it sees; null if all see all
   * @param lse one for each lane; a lane of -inf gives zeros
   * @param delta one for each lane
   */
  void softmaxGradient(
      float[] scores,
      float[] dp,
      int keys,
      int lanes,
      float scale,
      int @Nullable [] visible,
      float[] lse,
      float[] delta);

  /** {@code x[i] = x[i] * sigmoid(x[i])}. */
  void silu(float[] x, int at, int count);

  /** {@code into[i] = g * sigmoid(alpha * g) * (u + shift)}, g being gate[i] and u up[i]. */
  void gatedSigmoid(
      float[] gate,
      int gateAt,
      float[] up,
      int upAt,
      float alpha,
      float shift,
      float[] into,
      int at,
      int count);

  /**
   * A causal convolution of some rows, channel by channel: {@code out[r, c] = f(taps[width, c] +
   * sum over k of taps[k, c] * in[r + k, c])}, f being SiLU or nothing.
   *
   * @param in {@code rows + width - 1} rows, {@code inPitch} apart, the oldest first
   * @param rows how many rows to compute
   * @param width taps
   * @param channels how many
   * @param taps the taps of these channels from {@code tapsAt} on, {@code tapsPitch} apart, and
   *     then the bias
   * @param silu whether to apply SiLU
   * @param out takes the rows, {@code outPitch} apart
   */
  void convolve(
      float[] in,
      int inAt,
      int inPitch,
      int rows,
      int width,
      int channels,
      float[] taps,
      int tapsAt,
      int tapsPitch,
      boolean silu,
      float[] out,
      int outAt,
      int outPitch);

  /**
   * The same convolution, bit for bit, of rows where they lie: nothing is staged, so that reading
   * and writing overlap with computing.
   *
   * @param in holds the rows, the oldest of a window first
   * @param inRow the oldest that the first result takes
   * @param out takes the results, rounded once; must not overlap {@code in}
   * @param outRow where the first goes
   * @param rows how many to compute
   * @param from the first channel, of {@code taps} as well
   * @param channels how many
   * @return false if there is no loop for these types, this width or this number of channels, and
   *     nothing was done
   */
  boolean convolveInMemory(
      MatrixRows in,
      long inRow,
      MatrixRows out,
      long outRow,
      int rows,
      int width,
      int from,
      int channels,
      float[] taps,
      int tapsPitch,
      boolean silu);

  /**
   * Multiplies by the derivative of SiLU: {@code dout[i] *= s * (1 + pre[i] * (1 - s))}, s being
   * the sigmoid of pre[i].
   */
  void timesSiluSlope(float[] pre, int preAt, float[] dout, int at, int count);

  /** {@code sums[c] += sum over rows of a[r, c] * b[r, c]}. */
  void addColumnDots(
      float[] a,
      int aAt,
      int aPitch,
      float[] b,
      int bAt,
      int bPitch,
      int rows,
      int channels,
      float[] sums,
      int at);

  /**
   * Runs multiply-adds whose operands stay in registers: the rate of this loop is the most that any
   * product can reach.
   *
   * @param rounds how often
   * @param sink takes the results, at least {@link #LANES}, lest the loop be left out
   * @return the floating point operations done, a multiply-add counting two
   */
  long multiplyAdds(int rounds, float[] sink);
}
