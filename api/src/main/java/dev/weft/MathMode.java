package dev.weft;

/** How far products over F32 storage may depart from F32. */
public enum MathMode {
  /** F32 storage means F32 products: no TF32, no split or reduced precision. The default. */
  PRECISE,
  /** Products of F32 operands may use TF32 or a like format; sums stay F32. */
  FAST
}
