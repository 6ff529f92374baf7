package dev.weft.gpu;

/** The matrix units of a device that kernels may use, beside plain arithmetic. */
public enum MatrixUnits {
  /** None, or none that proved itself: plain multiply-adds. */
  NONE,
  /** mma.sync of NVIDIA's compute capability 8.0 and later. */
  NVIDIA_MMA,
  /** MFMA of AMD's CDNA, in waves of 64. */
  AMD_MFMA,
  /** WMMA of AMD's RDNA 3, in waves of 32. */
  AMD_WMMA,
  /** WMMA of AMD's RDNA 4, whose fragments lie otherwise. */
  AMD_WMMA_12
}
