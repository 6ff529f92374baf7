package dev.weft.backend.cuda.conv1d;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.Tensor;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.device.LaunchArguments;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import dev.weft.gpu.conv1d.Conv1dArguments;
import dev.weft.gpu.conv1d.Conv1dPlan;
import dev.weft.gpu.conv1d.PackedWeights;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.BackendStream;
import dev.weft.spi.Conv1dKernel;
import dev.weft.spi.LaunchContext;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Causal conv1d on a GPU: one launch forward and for an update, one backward and a second where a
 * parameter gradient is asked for. The kernels say in src/main/cuda/conv1d how they work.
 */
public final class CudaConv1d implements Conv1dKernel {
  private static final int PACK_THREADS = 128;
  private static final int REDUCE_THREADS = 128;

  /** Channels of a block of the kernel that adds tiles' sums: four threads share one. */
  private static final int REDUCE_CHANNELS = REDUCE_THREADS / 4;

  private final CudaDevice device;
  private final CausalConv1dSpec spec;
  private final int multiprocessors;
  private final Conv1dArguments operands;
  private final Map<Mode, List<Loaded>> variants = new EnumMap<>(Mode.class);
  private final @Nullable Loaded steps;
  private final KernelFunction pack;
  private final KernelFunction reduce;

  private record Loaded(Conv1dVariant variant, KernelFunction kernel) {}

  /** Finds every kernel that a launch of the spec may need. */
  public CudaConv1d(CudaDevice device, CausalConv1dSpec spec) {
    this.device = device;
    this.spec = spec;
    this.multiprocessors = device.descriptor().computeUnits();
    this.operands = new Conv1dArguments(spec);
    for (Mode mode : spec.modes()) {
      List<Loaded> loaded = new ArrayList<>();
      for (Conv1dVariant variant : Conv1dVariant.of(spec, mode)) {
        loaded.add(new Loaded(variant, device.kernel(variant.kernel())));
      }
      variants.put(mode, loaded);
    }
    Conv1dVariant decoding = Conv1dVariant.ofSteps(spec);
    steps = decoding == null ? null : new Loaded(decoding, device.kernel(decoding.kernel()));
    pack = device.kernel(Conv1dVariant.PACK);
    reduce = device.kernel(Conv1dVariant.REDUCE);
  }

  /** All types, layouts and options; widths that there are kernels for. */
  public static Support supports(CausalConv1dSpec spec) {
    return spec.width() <= Conv1dVariant.MOST_WIDTH
        ? Support.yes()
        : Support.no(
            "width "
                + spec.width()
                + ": the CUDA backend has kernels for widths "
                + Conv1dVariant.LEAST_WIDTH
                + " to "
                + Conv1dVariant.MOST_WIDTH);
  }

  @Override
  public long workspaceBytes(Mode mode, Limits limits) {
    return mode == Mode.BACKWARD
        ? Conv1dPlan.backwardTiles(
                spec.channels(),
                spec.width(),
                limits.tokens(),
                spec.workspaceLimit(),
                multiprocessors)
            * Conv1dPlan.partialBytes(spec.channels(), spec.width())
        : 0;
  }

  @Override
  public BackendBinding bind(Tensor weight, @Nullable Tensor bias) {
    return new PackedWeights(device, weight, bias) {
      @Override
      public void refresh(BackendStream stream) {
        CudaStream cuda = (CudaStream) stream;
        put(new LaunchArguments(cuda.parameters()));
        cuda.launch(pack, (pitch() + PACK_THREADS - 1) / PACK_THREADS, 1, PACK_THREADS);
      }
    };
  }

  /** The widest variant that the alignment of all rows allows. */
  private Loaded choose(Mode mode, @Nullable Tensor... rows) {
    List<Loaded> candidates = variants.getOrDefault(mode, List.of());
    for (Loaded candidate : candidates) {
      if (candidate.variant.takes(rows)) {
        return candidate;
      }
    }
    throw new IllegalStateException("no variant of " + mode + " for " + spec); // the last takes all
  }

  /** Whether a forward pass may be one of decoding steps, which have a variant of their own. */
  private boolean mayDecode(
      Conv1dForward a, Loaded steps, Conv1dVariant chosen, Conv1dPlan plan, int tokens) {
    Tensor states = a.states();
    return chosen.vector() == steps.variant.vector()
        && plan.tile() <= Conv1dVariant.MOST_STEPS
        && tokens < 2 * (a.cuSeqlens().size(0) - 1)
        && states != null
        && states.size(2) == spec.width() - 1
        && operands.reachesWhole(states, steps.variant)
        && a.cacheSeqlens() == null
        && a.initialStatesOut() == null;
  }

  @Override
  public void forward(LaunchContext context, Conv1dForward a) {
    int sequences = Math.toIntExact(a.cuSeqlens().size(0) - 1);
    if (sequences == 0) {
      return;
    }
    CudaStream stream = (CudaStream) context.stream();
    Loaded chosen = choose(Mode.FORWARD, a.x(), a.out());
    Conv1dVariant variant = chosen.variant;
    int tokens = TensorLayout.tokens(a.x().size(0));
    Conv1dPlan plan =
        variant.readsThroughSharedMemory()
            ? Conv1dPlan.forwardInShortTiles(
                spec.channels(), variant.vector(), tokens, sequences, multiprocessors)
            : Conv1dPlan.forward(
                spec.channels(), variant.vector(), tokens, sequences, multiprocessors);
    int emptyTiles = Conv1dArguments.emptyTiles(a.initialStatesOut(), sequences);
    long blocks = ((long) plan.tiles() + emptyTiles) * plan.columns();
    if (blocks == 0) {
      return;
    }
    if (steps != null && mayDecode(a, steps, chosen.variant, plan, tokens)) {
      chosen = steps;
    }
    Arguments arguments = new LaunchArguments(stream.parameters());
    operands.put(arguments, a, chosen.variant, plan.cut());
    arguments.value(spec.channels());
    stream.launch(chosen.kernel, blocks, 1, plan.threads());
  }

  @Override
  public void update(LaunchContext context, Conv1dUpdate a) {
    int sequences = Math.toIntExact(a.cacheIndices().size(0));
    if (a.x().elements() == 0 || sequences == 0) {
      return;
    }
    CudaStream stream = (CudaStream) context.stream();
    Loaded chosen = choose(Mode.UPDATE, a.x(), a.out());
    Conv1dPlan plan =
        Conv1dPlan.update(spec.channels(), chosen.variant.vector(), sequences, multiprocessors);
    Arguments arguments = new LaunchArguments(stream.parameters());
    operands.put(arguments, a, chosen.variant, plan.cut());
    arguments.value(spec.channels());
    stream.launch(chosen.kernel, (long) plan.tiles() * plan.columns(), 1, plan.threads());
  }

  @Override
  public void backward(LaunchContext context, Conv1dBackward a) {
    int sequences = Math.toIntExact(a.cuSeqlens().size(0) - 1);
    CudaStream stream = (CudaStream) context.stream();
    boolean parameters = a.dweight() != null || a.dbias() != null;
    Loaded chosen = choose(Mode.BACKWARD, a.x(), a.dout(), a.dx());
    int tokens = sequences == 0 ? 0 : TensorLayout.tokens(a.x().size(0));
    Conv1dPlan plan =
        Conv1dPlan.backward(
            spec.channels(),
            chosen.variant.vector(),
            spec.width(),
            tokens,
            spec.workspaceLimit(),
            multiprocessors);
    BackendMemory scratch = context.workspace();
    Region partial =
        parameters && scratch != null ? new Region(scratch, context.workspaceOffset()) : null;
    int emptyTiles = Conv1dArguments.emptyTiles(a.dinitialStates(), sequences);
    long blocks = ((long) plan.tiles() + emptyTiles) * plan.columns();
    if (blocks > 0 && (parameters || a.dx() != null || a.dinitialStates() != null)) {
      Arguments arguments = new LaunchArguments(stream.parameters());
      operands.put(arguments, a, chosen.variant, plan.cut(), tokens, partial);
      arguments.value(spec.channels());
      stream.launch(chosen.kernel, blocks, 1, plan.threads());
    }
    if (parameters) {
      int columns = (spec.channels() + REDUCE_CHANNELS - 1) / REDUCE_CHANNELS;
      operands.putSums(new LaunchArguments(stream.parameters()), a, partial, plan.tiles(), columns);
      stream.launch(
          reduce,
          LaunchShape.of(columns * (spec.width() + 1L), 1, REDUCE_THREADS)
              .overlappingPredecessor());
    }
  }
}
