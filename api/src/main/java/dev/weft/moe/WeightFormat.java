package dev.weft.moe;

/**
 * How expert weights are stored. Open: a format that a backend does not know makes it answer no.
 * Its text is its identity.
 */
public interface WeightFormat {
  /** Plain elements of the weight type. */
  WeightFormat DENSE = () -> "dense";

  /**
   * Returns the format's name.
   *
   * @return lower case, without spaces
   */
  String text();
}
