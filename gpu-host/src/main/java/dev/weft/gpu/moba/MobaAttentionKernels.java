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
    KernelName listed =
        units
            .map(t -> t.kernel("moba_listed", paged))
            .orElseGet(() -> tiles.kernel("moba/attend", "moba_listed", traits));
    List<ComputeKernel> kernels = device.kernels(List.of(listed, listed.function("moba_own")));
    return new MobaAttentionKernels(
        kernels.get(0),
        kernels.get(1),
        units.map(MobaUnitTiles::rows).orElse(tiles.rows()),
        units.isPresent() ? MobaUnitTiles.groupSize() : tiles.groupSize(traits));
  }
}
