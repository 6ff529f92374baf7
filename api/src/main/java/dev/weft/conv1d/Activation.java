package dev.weft.conv1d;

/** What follows the convolution. */
public enum Activation {
  /** Nothing. */
  NONE,
  /** x * sigmoid(x). */
  SILU
}
