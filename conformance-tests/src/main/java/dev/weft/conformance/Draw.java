package dev.weft.conformance;

import java.nio.charset.StandardCharsets;

/**
 * A counter-based generator: every number is a pure function of the case's id, the suite's version,
 * the salt, a name and an index. So inputs depend on no thread, order or machine. Immutable.
 */
public final class Draw {
  private static final long GOLDEN = 0x9e3779b97f4a7c15L;

  private final long key;

  private Draw(long key) {
    this.key = key;
  }

  /**
   * Makes the generator of a text.
   *
   * @param text such as a case id
   * @param salt changes everything drawn
   * @return the generator
   */
  public static Draw of(String text, long salt) {
    return new Draw(mix(hash(text) ^ mix(salt + GOLDEN)));
  }

  /**
   * Derives an independent generator.
   *
   * @param name such as a tensor's name
   * @return the generator of that name
   */
  public Draw of(String name) {
    return new Draw(mix(key + GOLDEN) ^ mix(hash(name)));
  }

  /**
   * Draws 64 bits.
   *
   * @param index which
   * @return bits
   */
  public long bits(long index) {
    return mix(key + (index + 1) * GOLDEN);
  }

  /**
   * Draws from [0, 1).
   *
   * @param index which
   * @return a multiple of 2^-53
   */
  public double uniform(long index) {
    return (bits(index) >>> 11) * 0x1p-53;
  }

  /**
   * Draws a standard normal number.
   *
   * @param index which
   * @return mean 0, variance 1
   */
  public double normal(long index) {
    long bits = bits(index);
    double radius = ((bits >>> 32) + 0.5) * 0x1p-32;
    double angle = (bits & 0xffffffffL) * 0x1p-32;
    return StrictMath.sqrt(-2 * StrictMath.log(radius)) * StrictMath.cos(2 * Math.PI * angle);
  }

  /**
   * Draws an integer.
   *
   * @param index which
   * @param bound one past the largest
   * @return 0 to bound - 1
   */
  public int below(long index, int bound) {
    return (int) (uniform(index) * bound);
  }

  /**
   * Draws a permutation.
   *
   * @param n how many
   * @return 0 to n - 1, shuffled
   */
  public int[] permutation(int n) {
    int[] order = new int[n];
    for (int i = 0; i < n; i++) {
      int j = below(i, i + 1);
      order[i] = order[j];
      order[j] = i;
    }
    return order;
  }

  private static long hash(String text) {
    long h = 0xcbf29ce484222325L;
    for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
      h = (h ^ (b & 0xff)) * 0x100000001b3L;
    }
    return h;
  }

  /** The finaliser of SplitMix64 (Steele, Lea and Flood 2014). */
  private static long mix(long z) {
    z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
    z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
    return z ^ (z >>> 31);
  }
}
