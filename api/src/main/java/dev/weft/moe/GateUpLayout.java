package dev.weft.moe;

/** Where the gate and up rows of an expert's first projection lie. */
public enum GateUpLayout {
  /** One tensor [E, 2I, H]: I gate rows, then I up rows. */
  GATE_FIRST,
  /** One tensor [E, 2I, H]: I up rows, then I gate rows. */
  UP_FIRST,
  /** One tensor [E, 2I, H]: row 2j is gate j, row 2j+1 up j. */
  INTERLEAVED,
  /** Two tensors [E, I, H]; biases and shared weights are one tensor each, gate first. */
  SEPARATE
}
