package dev.weft.gpu.moba;

import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.moba.MobaAttentionSpec;
import java.util.List;
import java.util.Optional;

/**
 * The two kernels of attention, whichever the device has: their parameters are the same.
 *
 * @param rows query rows of a tile
 * @param groupSize work-items of a group
 */
record MobaAttentionKernels(ComputeKernel listed, ComputeKernel own, int rows, int groupSize) {
  static MobaAttentionKernels of(
      ComputeDevice device, MobaAttentionSpec spec, MobaTiles tiles, boolean paged) {
    ComputeTraits traits = device.traits();
    Optional<MobaUnitTiles> units = MobaUnitTiles.of(spec, traits);
    if (units.isPresent()) {
      return of(
          device,
          units.get().kernel("moba_listed", paged),
          units.get().rows(),
          MobaUnitTiles.groupSize());
    }
    Optional<MobaCooperativeTiles> cooperative = MobaCooperativeTiles.of(spec, device);
    if (cooperative.isPresent()) {
      return of(
          device,
          cooperative.get().kernel("moba_listed", paged),
          cooperative.get().rows(),
          cooperative.get().groupSize());
    }
    return of(
        device,
        tiles.kernel("moba/attend", "moba_listed", traits),
        tiles.rows(),
        tiles.groupSize(traits));
  }

  private static MobaAttentionKernels of(
      ComputeDevice device, KernelName listed, int rows, int groupSize) {
    List<ComputeKernel> kernels = device.kernels(List.of(listed, listed.function("moba_own")));
    return new MobaAttentionKernels(kernels.get(0), kernels.get(1), rows, groupSize);
  }
}
