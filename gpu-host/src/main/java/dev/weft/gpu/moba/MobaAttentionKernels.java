package dev.weft.gpu.moba;

import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.moba.MobaAttentionSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * The kernels of attention, whichever the device has: their parameters are the same.
 *
 * @param any for all tensors
 * @param whole for aligned rows, where tiles divide the spec's sizes and there is a form for that
 * @param rows query rows of a tile
 * @param groupSize work-items of a group
 */
record MobaAttentionKernels(Kernels any, @Nullable Kernels whole, int rows, int groupSize) {
  private static final int ALL_ALIGNED =
      MobaTensors.ALIGNED_Q | MobaTensors.ALIGNED_K | MobaTensors.ALIGNED_V;

  /**
   * Attention to a list's block, and to own blocks.
   *
   * @param listed moba_listed
   * @param own moba_own
   */
  record Kernels(ComputeKernel listed, ComputeKernel own) {}

  static MobaAttentionKernels of(
      ComputeDevice device, MobaAttentionSpec spec, MobaTiles tiles, boolean paged) {
    ComputeTraits traits = device.traits();
    Optional<MobaUnitTiles> units = MobaUnitTiles.of(spec, traits);
    if (units.isPresent()) {
      return of(
          device,
          units.get().kernel("moba_listed", paged),
          false,
          units.get().rows(),
          MobaUnitTiles.groupSize());
    }
    Optional<MobaCooperativeTiles> cooperative = MobaCooperativeTiles.of(spec, device);
    if (cooperative.isPresent()) {
      return of(
          device,
          cooperative.get().kernel("moba_listed", paged),
          !paged && cooperative.get().areWhole(spec),
          cooperative.get().rows(),
          cooperative.get().groupSize());
    }
    return of(
        device,
        tiles.kernel("moba/attend", "moba_listed", traits),
        false,
        tiles.rows(),
        tiles.groupSize(traits));
  }

  private static MobaAttentionKernels of(
      ComputeDevice device, KernelName listed, boolean hasWhole, int rows, int groupSize) {
    KernelName own = listed.function("moba_own");
    List<KernelName> names = new ArrayList<>(List.of(listed, own));
    if (hasWhole) {
      names.add(listed.with("WHOLE", 1));
      names.add(own.with("WHOLE", 1));
    }
    List<ComputeKernel> kernels = device.kernels(names);
    return new MobaAttentionKernels(
        new Kernels(kernels.get(0), kernels.get(1)),
        hasWhole ? new Kernels(kernels.get(2), kernels.get(3)) : null,
        rows,
        groupSize);
  }

  /** Those of a launch, by the bits of {@link MobaTensors#alignment()}. */
  Kernels of(int alignment) {
    Kernels kernels = whole;
    return kernels != null && (alignment & ALL_ALIGNED) == ALL_ALIGNED ? kernels : any;
  }
}
