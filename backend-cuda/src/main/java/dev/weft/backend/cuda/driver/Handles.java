package dev.weft.backend.cuda.driver;

import jcuda.Pointer;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUfunction;

/** JCuda's handle objects with their raw value, which JCuda shows to subclasses only. */
public final class Handles {
  private Handles() {}

  /** A context. */
  public static final class Context extends CUcontext {
    public long raw() {
      return getNativePointer();
    }
  }

  /** A kernel. */
  public static final class Function extends CUfunction {
    public long raw() {
      return getNativePointer();
    }
  }

  /** Device memory. */
  public static final class DevicePointer extends CUdeviceptr {
    /** To be filled by an allocation. */
    public DevicePointer() {}

    /** Of a known address. */
    public DevicePointer(long address) {
      super(new CUdeviceptr(), address);
    }

    public long raw() {
      return getNativePointer() + getByteOffset();
    }
  }

  /** Host memory. */
  public static final class HostPointer extends Pointer {
    /** To be filled by an allocation. */
    public HostPointer() {}

    /** Of a known address. */
    public HostPointer(long address) {
      super(address);
    }

    public long raw() {
      return getNativePointer();
    }
  }
}
