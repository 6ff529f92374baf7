package dev.weft.backend.opencl.device;

import dev.weft.OperationSpec;
import dev.weft.Support;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.Recipes;
import dev.weft.spi.BackendHostMemory;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import dev.weft.spi.DeviceDescriptor;
import java.util.ArrayList;
import java.util.List;

/**
 * Notes the kernels that the preparation of a spec asks for, and compiles none. Recipes ask for a
 * few at a time, one after another; known together, all of them can be built side by side.
 */
final class Rehearsal implements ComputeDevice {
  private final ComputeDevice device;
  private final List<KernelName> names = new ArrayList<>();

  private record Noted(KernelName name, int mostGroupSize) implements ComputeKernel {}

  private Rehearsal(ComputeDevice device) {
    this.device = device;
  }

  /** What preparing a supported spec on a device will ask for. */
  static List<KernelName> kernels(ComputeDevice device, OperationSpec<?> spec) {
    Rehearsal rehearsal = new Rehearsal(device);
    Recipes.prepare(rehearsal, spec);
    return rehearsal.names;
  }

  @Override
  public List<ComputeKernel> kernels(List<KernelName> wanted) {
    names.addAll(wanted);
    return wanted.stream()
        .<ComputeKernel>map(name -> new Noted(name, traits().mostGroupSize()))
        .toList();
  }

  @Override
  public boolean has(KernelName name) {
    return device.has(name);
  }

  @Override
  public ComputeTraits traits() {
    return device.traits();
  }

  @Override
  public boolean hasRowsInQuads() {
    return device.hasRowsInQuads();
  }

  @Override
  public DeviceDescriptor descriptor() {
    return device.descriptor();
  }

  @Override
  public Support supports(OperationSpec<?> spec) {
    return device.supports(spec);
  }

  @Override
  public BackendKernel prepare(OperationSpec<?> spec) {
    throw kernelsOnly();
  }

  @Override
  public BackendMemory allocate(long bytes) {
    throw kernelsOnly();
  }

  @Override
  public BackendHostMemory allocateHost(long bytes) {
    throw kernelsOnly();
  }

  @Override
  public BackendStream newStream() {
    throw kernelsOnly();
  }

  private static IllegalStateException kernelsOnly() {
    return new IllegalStateException("preparing a spec asks for kernels only");
  }

  /** Nothing to release. */
  @Override
  public void close() {}
}
