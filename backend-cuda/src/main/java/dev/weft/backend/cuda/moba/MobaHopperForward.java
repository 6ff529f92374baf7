package dev.weft.backend.cuda.moba;

import dev.weft.DataType;
import dev.weft.Tensor;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.driver.TensorMaps;
import dev.weft.backend.cuda.driver.TensorMaps.Element;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.gpu.TensorLayout;
import dev.weft.moba.MobaAttentionSpec;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/**
 * The last two stages of the packed forward pass by the matrix units and the copy engine of Hopper:
 * src/main/cuda/moba/sm_90a. They read and write the scratch memory that the generic kernels do.
 */
final class MobaHopperForward {
  private static final float LOG2_E = 1.442695f;

  /** The copy engine takes rows whose start and pitch are multiples of this. */
  private static final int ROW_ALIGNMENT = 16;

  /** Heads are blocks along y. */
  private static final int MOST_HEADS = 65_535;

  /** Columns of a box of a tensor map: 128 bytes, the widest swizzle. */
  private static final int BOX_COLUMNS = 64;

  private final MobaAttentionSpec spec;
  private final MobaHopperTiles tiles;
  private final TensorMaps maps;
  private final KernelFunction past;
  private final KernelFunction own;
  private final int multiprocessors;

  private MobaHopperForward(
      MobaAttentionSpec spec,
      MobaHopperTiles tiles,
      TensorMaps maps,
      KernelFunction past,
      KernelFunction own,
      int multiprocessors) {
    this.spec = spec;
    this.tiles = tiles;
    this.maps = maps;
    this.past = past;
    this.own = own;
    this.multiprocessors = multiprocessors;
  }

  /** Nothing where the device or the spec is another than these kernels are for. */
  static Optional<MobaHopperForward> of(CudaDevice device, MobaAttentionSpec spec) {
    Optional<MobaHopperTiles> tiles = MobaHopperTiles.of(spec);
    Optional<TensorMaps> maps = device.tensorMaps();
    if (tiles.isEmpty() || maps.isEmpty() || spec.heads() > MOST_HEADS) {
      return Optional.empty();
    }
    Optional<KernelFunction> past = device.findKernel(tiles.get().past());
    Optional<KernelFunction> own = device.findKernel(tiles.get().own());
    if (past.isEmpty() || own.isEmpty()) {
      return Optional.empty();
    }
    return Optional.of(
        new MobaHopperForward(
            spec,
            tiles.get(),
            maps.get(),
            past.get(),
            own.get(),
            device.descriptor().computeUnits()));
  }

  /** Entries of a tile of a list, as the lists must be built for these kernels. */
  int tileRows() {
    return tiles.pastRows();
  }

  /** Whether these tensors, and so many slots, are what the kernels take. */
  boolean takes(MobaArguments a, int slots) {
    if (a.tensors().isPaged()) {
      return false;
    }
    for (Tensor tensor :
        new Tensor[] {a.tensors().q(), a.tensors().k(), a.tensors().v(), a.tensors().out()}) {
      if (!TensorLayout.isAligned(tensor, ROW_ALIGNMENT)) {
        return false;
      }
    }
    // Query rows are found by 32 bits, in units of 16 bytes.
    long chunks = (a.tensors().q().size(0) + 1) * pitchBytes(a.tensors().q(), 0) / ROW_ALIGNMENT;
    return chunks < 1L << 32 && tiles.ownSharedBytes(slots) <= MobaHopperTiles.MOST_SHARED_BYTES;
  }

  /** Meets the listed rows with their past blocks: partial results, each with its lse. */
  void past(
      CudaStream stream,
      MobaForwardPlan plan,
      long scratch,
      MobaArguments a,
      int first,
      int heads) {
    try (Arena arena = Arena.ofConfined()) {
      ParameterBlock block =
          stream
              .parameters()
              .put(map(arena, a.tensors().k(), MobaHopperTiles.PAST_KEYS))
              .put(map(arena, a.tensors().v(), MobaHopperTiles.PAST_KEYS));
      MobaLists.putInto(block, plan.lists(), scratch + plan.listsAt(), heads, tiles.pastRows());
      block
          .put(TensorArguments.address(a.tensors().q()))
          .put(scratch + plan.partialsAt())
          .put(scratch + plan.partialLseAt())
          .put(pitchBytes(a.tensors().q(), 0) / ROW_ALIGNMENT)
          .put(pitchBytes(a.tensors().q(), 1) / ROW_ALIGNMENT)
          .put(spec.scale() * LOG2_E)
          .put(first)
          .put(tiles.keyTiles(spec))
          .put(tiles.run(spec));
      stream.launch(
          past,
          LaunchShape.of(multiprocessors, 1, tiles.pastThreads())
              .withShared(tiles.pastSharedBytes()));
    }
  }

  /** Meets all rows with their own blocks and adds the partial results of past ones. */
  void own(
      CudaStream stream,
      MobaForwardPlan plan,
      long scratch,
      MobaArguments a,
      MobaLists.Selection selection,
      int first,
      int heads) {
    int tilesPerBlock =
        (spec.blockSize() + MobaHopperTiles.OWN_ROWS - 1) / MobaHopperTiles.OWN_ROWS;
    Tensor lse = a.tensors().lse();
    try (Arena arena = Arena.ofConfined()) {
      ParameterBlock block =
          stream
              .parameters()
              .put(map(arena, a.tensors().q(), MobaHopperTiles.OWN_ROWS))
              .put(map(arena, a.tensors().k(), MobaHopperTiles.OWN_ROWS))
              .put(map(arena, a.tensors().v(), MobaHopperTiles.OWN_ROWS));
      MobaLists.putInto(block, plan.lists(), scratch + plan.listsAt(), heads, tiles.pastRows());
      selection
          .putInto(block)
          .put(scratch + plan.partialsAt())
          .put(scratch + plan.partialLseAt())
          .put(TensorArguments.address(a.tensors().out()))
          .put(TensorArguments.address(lse))
          .put(TensorLayout.stride(a.tensors().out(), 0))
          .put(TensorLayout.stride(a.tensors().out(), 1))
          .put(lse == null ? 0L : TensorLayout.stride(lse, 0))
          .put(lse == null ? 0L : TensorLayout.stride(lse, 1))
          .put(spec.scale() * LOG2_E)
          .put(first)
          .put(tilesPerBlock)
          .put(0);
      stream.launch(
          own,
          LaunchShape.of(
                  (long) plan.lists().blocks() * tilesPerBlock,
                  heads * plan.lists().group(),
                  MobaHopperTiles.OWN_THREADS)
              .withShared(tiles.ownSharedBytes(plan.lists().slots())));
    }
  }

  /** The pitch of a dimension; of one with a single element, any that a tensor map allows. */
  private static long pitchBytes(Tensor tensor, int dimension) {
    long stride =
        tensor.size(dimension) > 1 ? tensor.stride(dimension) : tensor.size(tensor.rank() - 1);
    return stride * tensor.dataType().bytes();
  }

  /** A map of [T, heads, D] by boxes of so many tokens of one head and 64 columns. */
  private MemorySegment map(Arena arena, Tensor tensor, int tokens) {
    return maps.encode(
        arena,
        spec.dataType() == DataType.BF16 ? Element.BF16 : Element.F16,
        TensorMaps.Fetch.BYTES_256,
        TensorArguments.address(tensor),
        new long[] {tensor.size(2), tensor.size(1), tensor.size(0)},
        new long[] {pitchBytes(tensor, 1), pitchBytes(tensor, 0)},
        new int[] {BOX_COLUMNS, 1, tokens});
  }
}
