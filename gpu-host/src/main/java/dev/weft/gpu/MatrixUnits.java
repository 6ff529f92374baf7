package dev.weft.gpu;

/** The matrix units of a device that kernels may use, beside plain arithmetic. */
public enum MatrixUnits {
  /** None, or none that proved itself: plain multiply-adds. */
  NONE(0),
  /** mma.sync of NVIDIA's compute capability 8.0 and later. */
  NVIDIA_MMA(1),
  /** MFMA of AMD's CDNA, in waves of 64. */
  AMD_MFMA(2),
  /** WMMA of AMD's RDNA 3, in waves of 32. */
  AMD_WMMA(3),
  /** WMMA of AMD's RDNA 4, whose fragments lie otherwise. */
  AMD_WMMA_12(4),
  /** Cooperative matrices of Vulkan, 16 x 16 x 16, in subgroups of 32. */
  COOPERATIVE(5);

  private final int code;

  MatrixUnits(int code) {
    this.code = code;
  }

  /** The constant MATRIX of the kernels. */
  public int code() {
    return code;
  }
}
