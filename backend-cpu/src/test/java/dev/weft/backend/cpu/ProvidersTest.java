package dev.weft.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.weft.DataType;
import dev.weft.Device;
import dev.weft.DeviceOptions;
import dev.weft.DeviceOutOfMemoryException;
import dev.weft.HostTensor;
import dev.weft.Tensor;
import dev.weft.Weft;
import dev.weft.spi.DeviceDescriptor;
import dev.weft.spi.KernelProvider;
import dev.weft.spi.Oracle;
import dev.weft.spi.Probe;
import java.lang.foreign.Arena;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class ProvidersTest {
  static List<KernelProvider> providers() {
    return List.of(new ReferenceProvider(), new CpuProvider());
  }

  @ParameterizedTest
  @MethodSource("providers")
  void theMachineIsTheOnlyDevice(KernelProvider provider) {
    List<DeviceDescriptor> devices =
        assertInstanceOf(Probe.Available.class, provider.probe()).devices();
    assertEquals(1, devices.size());
    DeviceDescriptor device = devices.getFirst();
    assertEquals(Runtime.getRuntime().availableProcessors(), device.computeUnits());
    assertEquals(DeviceDescriptor.Kind.CPU, device.kind());
    assertTrue(device.memoryBytes() > 0);
    assertTrue(device.graphs());
    assertFalse(device.name().isBlank());
  }

  @ParameterizedTest
  @MethodSource("providers")
  void unknownPropertiesAreRefusedByName(KernelProvider provider) {
    DeviceOptions options = DeviceOptions.builder().property("turbo", "1").build();
    Exception e =
        assertThrows(
            IllegalArgumentException.class, () -> Weft.open(provider, "0", options).close());
    assertTrue(String.valueOf(e.getMessage()).contains("turbo"), e.getMessage());
  }

  @ParameterizedTest
  @MethodSource("providers")
  void tooMuchMemoryIsRefusedWithTheNumbersAndTheDeviceStaysUsable(KernelProvider provider) {
    try (Device device = Weft.open(provider, "0", DeviceOptions.defaults())) {
      long elements = 1L << 46;
      DeviceOutOfMemoryException e =
          assertThrows(
              DeviceOutOfMemoryException.class,
              () -> device.allocate(DataType.F32, elements).close());
      assertEquals(elements * 4, e.needed());
      assertTrue(e.limit() > 0 && e.free() >= 0 && e.free() <= e.limit(), e.getMessage());
      device.allocate(DataType.F32, 16).close();
    }
  }

  @ParameterizedTest
  @MethodSource("providers")
  void memoryIsAlignedAndTransfersArrive(KernelProvider provider) {
    try (Device device = Weft.open(provider, "0", DeviceOptions.defaults());
        Arena arena = Arena.ofConfined()) {
      HostTensor source = HostTensor.of(DataType.F32, arena.allocate(12).fill((byte) 1), 3);
      try (Tensor tensor = device.upload(source)) {
        assertEquals(source.get(2), tensor.download().get(2));
      }
    }
  }

  @ParameterizedTest
  @MethodSource("providers")
  void onlyTheReferenceIsAnOracle(KernelProvider provider) {
    try (Device device = Weft.open(provider, "0", DeviceOptions.defaults())) {
      assertEquals(provider.id().equals("reference"), device.extension(Oracle.class).isPresent());
    }
  }
}
