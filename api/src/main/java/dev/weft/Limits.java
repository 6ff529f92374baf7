package dev.weft;

/**
 * The sizes that scratch memory depends on: those of one launch, or the largest of many.
 *
 * @param tokens most rows of tokens (T) in a launch; for a batched update, batch times length
 * @param sequences most sequences (B) in a launch
 * @param pagesPerSequence columns of the page table (P); 0 where nothing is paged
 */
public record Limits(long tokens, long sequences, long pagesPerSequence) {
  /** Refuses negative sizes. */
  public Limits {
    if (tokens < 0 || sequences < 0 || pagesPerSequence < 0) {
      throw new IllegalArgumentException(
          "limits: expected sizes of at least 0, but tokens="
              + tokens
              + ", sequences="
              + sequences
              + ", pagesPerSequence="
              + pagesPerSequence);
    }
  }

  /**
   * Limits without pages.
   *
   * @param tokens most rows of tokens
   * @param sequences most sequences
   * @return the limits
   */
  public static Limits of(long tokens, long sequences) {
    return new Limits(tokens, sequences, 0);
  }
}
