package dev.weft.backend.cuda.conv1d;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.Tensor;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaMemory;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.backend.cuda.kernels.KernelFunction;
import dev.weft.backend.cuda.kernels.LaunchShape;
import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.gpu.TensorLayout;
import dev.weft.gpu.conv1d.Conv1dPlan;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.BackendMemory;
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
  /** Sequences that one block looks through for empty ones. */
  private static final int EMPTY_PER_BLOCK = 32;

  private static final int REDUCE_THREADS = 64;

  private final CudaDevice device;
  private final CausalConv1dSpec spec;
  private final int multiprocessors;
  private final Map<Mode, List<Loaded>> variants = new EnumMap<>(Mode.class);
  private final KernelFunction reduce;

  private record Loaded(Conv1dVariant variant, KernelFunction kernel) {}

  /** Finds every kernel that a launch of the spec may need. */
  public CudaConv1d(CudaDevice device, CausalConv1dSpec spec) {
    this.device = device;
    this.spec = spec;
    this.multiprocessors = device.descriptor().computeUnits();
    for (Mode mode : spec.modes()) {
      List<Loaded> loaded = new ArrayList<>();
      for (Conv1dVariant variant : Conv1dVariant.of(spec, mode)) {
        loaded.add(new Loaded(variant, device.kernel(variant.kernel())));
      }
      variants.put(mode, loaded);
    }
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
    return new PackedWeights(device, weight, bias);
  }

  /** The widest variant that the alignment of all rows allows. */
  private Loaded choose(Mode mode, @Nullable Tensor... rows) {
    List<Loaded> candidates = variants.getOrDefault(mode, List.of());
    for (Loaded candidate : candidates) {
      boolean fits = true;
      for (Tensor tensor : rows) {
        fits &= TensorLayout.isAligned(tensor, candidate.variant.alignment());
      }
      if (fits) {
        return candidate;
      }
    }
    throw new IllegalStateException("no variant of " + mode + " for " + spec); // the last takes all
  }

  private int silu() {
    return spec.activation() == Activation.SILU ? 1 : 0;
  }

  private int typeCode() {
    return TensorLayout.typeCode(spec.dataType());
  }

  private int stateTypeCode() {
    return TensorLayout.typeCode(spec.stateType());
  }

  private static int emptyBlocks(int sequences) {
    return (sequences + EMPTY_PER_BLOCK - 1) / EMPTY_PER_BLOCK;
  }

  @Override
  public void forward(LaunchContext context, Conv1dForward a) {
    int sequences = Math.toIntExact(a.cuSeqlens().size(0) - 1);
    if (sequences == 0) {
      return;
    }
    CudaStream stream = (CudaStream) context.stream();
    PackedWeights weights = (PackedWeights) a.weights().backend();
    Tensor states = a.states();
    Loaded chosen = choose(Mode.FORWARD, a.x(), a.out());
    Conv1dVariant variant = chosen.variant;
    int tokens = TensorLayout.tokens(a.x().size(0));
    Conv1dPlan plan =
        variant.readsThroughSharedMemory()
            ? Conv1dPlan.forwardInShortTiles(
                spec.channels(), variant.vector(), tokens, sequences, multiprocessors)
            : Conv1dPlan.forward(
                spec.channels(), variant.vector(), tokens, sequences, multiprocessors);
    int emptyBlocks = a.initialStatesOut() == null ? 0 : emptyBlocks(sequences);
    long blocks = ((long) plan.tiles() + emptyBlocks) * plan.columns();
    if (blocks == 0) {
      return;
    }
    ParameterBlock block =
        stream
            .parameters()
            .put(TensorArguments.address(a.x()))
            .put(TensorArguments.address(a.out()))
            .put(weights.address())
            .put(TensorArguments.address(a.cuSeqlens()))
            .put(TensorArguments.address(a.cacheIndices()))
            .put(TensorArguments.address(a.hasInitialState()))
            .put(TensorArguments.address(a.cacheSeqlens()));
    Arguments.putStates(block, states);
    Arguments.putStates(block, a.initialStatesOut());
    block
        .put(TensorLayout.stride(a.x(), 0))
        .put(TensorLayout.stride(a.out(), 0))
        .put(weights.pitch())
        .put(states == null ? 0L : states.size(0))
        .put(tokens)
        .put(spec.channels())
        .put(sequences)
        .put(states == null ? 0 : Math.toIntExact(states.size(2)))
        .put(plan.tile())
        .put(plan.tiles())
        .put(plan.columns())
        .put(spec.padSlotId())
        .put(typeCode())
        .put(stateTypeCode())
        .put(Arguments.stateMode(states, variant))
        .put(Arguments.stateMode(a.initialStatesOut(), variant))
        .put(silu())
        .put(EMPTY_PER_BLOCK);
    stream.launch(chosen.kernel, blocks, 1, plan.threads());
  }

  @Override
  public void update(LaunchContext context, Conv1dUpdate a) {
    Tensor x = a.x();
    Tensor out = a.out();
    Tensor lengths = a.cuSeqlens();
    int sequences = Math.toIntExact(a.cacheIndices().size(0));
    if (x.elements() == 0 || sequences == 0) {
      return;
    }
    CudaStream stream = (CudaStream) context.stream();
    PackedWeights weights = (PackedWeights) a.weights().backend();
    Tensor states = a.states();
    Loaded chosen = choose(Mode.UPDATE, x, out);
    Conv1dVariant variant = chosen.variant;
    Conv1dPlan plan =
        Conv1dPlan.update(spec.channels(), variant.vector(), sequences, multiprocessors);
    int token = lengths == null ? 1 : 0; // the dimension of tokens
    ParameterBlock block =
        stream
            .parameters()
            .put(TensorArguments.address(x))
            .put(TensorArguments.address(out))
            .put(weights.address())
            .put(TensorArguments.address(lengths))
            .put(TensorArguments.address(a.cacheIndices()))
            .put(TensorArguments.address(a.cacheSeqlens()))
            .put(TensorArguments.address(a.numAccepted()));
    Arguments.putStates(block, states);
    block
        .put(lengths == null ? TensorLayout.stride(x, 0) : 0L)
        .put(TensorLayout.stride(x, token))
        .put(lengths == null ? TensorLayout.stride(out, 0) : 0L)
        .put(TensorLayout.stride(out, token))
        .put(weights.pitch())
        .put(states.size(0))
        .put(lengths == null ? 0 : TensorLayout.tokens(x.size(0)))
        .put(spec.channels())
        .put(sequences)
        .put(Math.toIntExact(states.size(2)))
        .put(lengths == null ? Math.toIntExact(x.size(1)) : 0)
        .put(plan.tile())
        .put(plan.columns())
        .put(spec.padSlotId())
        .put(typeCode())
        .put(stateTypeCode())
        .put(Arguments.stateMode(states, variant))
        .put(silu());
    stream.launch(chosen.kernel, (long) plan.tiles() * plan.columns(), 1, plan.threads());
  }

  @Override
  public void backward(LaunchContext context, Conv1dBackward a) {
    int sequences = Math.toIntExact(a.cuSeqlens().size(0) - 1);
    CudaStream stream = (CudaStream) context.stream();
    PackedWeights weights = (PackedWeights) a.weights().backend();
    boolean parameters = a.dweight() != null || a.dbias() != null;
    Loaded chosen = choose(Mode.BACKWARD, a.x(), a.dout(), a.dx());
    Conv1dVariant variant = chosen.variant;
    int tokens = sequences == 0 ? 0 : TensorLayout.tokens(a.x().size(0));
    Conv1dPlan plan =
        Conv1dPlan.backward(
            spec.channels(),
            variant.vector(),
            spec.width(),
            tokens,
            spec.workspaceLimit(),
            multiprocessors);
    BackendMemory scratch = context.workspace();
    long partial =
        parameters && scratch != null
            ? ((CudaMemory) scratch).address() + context.workspaceOffset()
            : 0;
    int emptyBlocks = a.dinitialStates() == null ? 0 : emptyBlocks(sequences);
    long blocks = ((long) plan.tiles() + emptyBlocks) * plan.columns();
    if (blocks > 0 && (parameters || a.dx() != null || a.dinitialStates() != null)) {
      pass(stream, weights, a, chosen, plan, tokens, sequences, partial);
      stream.launch(chosen.kernel, blocks, 1, plan.threads());
    }
    if (parameters) {
      reduce(stream, weights, a, partial, plan.tiles());
    }
  }

  private void pass(
      CudaStream stream,
      PackedWeights weights,
      Conv1dBackward a,
      Loaded chosen,
      Conv1dPlan plan,
      int tokens,
      int sequences,
      long partial) {
    Conv1dVariant variant = chosen.variant;
    Tensor dx = a.dx();
    ParameterBlock block =
        stream
            .parameters()
            .put(TensorArguments.address(a.x()))
            .put(TensorArguments.address(a.dout()))
            .put(TensorArguments.address(dx))
            .put(weights.address())
            .put(TensorArguments.address(a.cuSeqlens()))
            .put(TensorArguments.address(a.cacheIndices()))
            .put(TensorArguments.address(a.hasInitialState()));
    Arguments.putStates(block, a.initialStates());
    Arguments.putStates(block, a.dfinalStates());
    Arguments.putStates(block, a.dinitialStates());
    block
        .put(partial)
        .put(TensorLayout.stride(a.x(), 0))
        .put(TensorLayout.stride(a.dout(), 0))
        .put(dx == null ? 0L : TensorLayout.stride(dx, 0))
        .put(weights.pitch())
        .put(tokens)
        .put(spec.channels())
        .put(sequences)
        .put(spec.padSlotId())
        .put(plan.tile())
        .put(plan.tiles())
        .put(plan.columns())
        .put(EMPTY_PER_BLOCK)
        .put(typeCode())
        .put(stateTypeCode())
        .put(silu())
        .put(Arguments.stateMode(a.initialStates(), variant))
        .put(Arguments.stateMode(a.dfinalStates(), variant))
        .put(Arguments.stateMode(a.dinitialStates(), variant));
  }

  private void reduce(
      CudaStream stream, PackedWeights weights, Conv1dBackward a, long partial, int tiles) {
    Tensor dweight = a.dweight();
    stream
        .parameters()
        .put(partial)
        .put(TensorArguments.address(dweight))
        .put(TensorArguments.address(a.dbias()))
        .put(weights.pitch())
        .put(dweight == null ? 0L : TensorLayout.stride(dweight, 0))
        .put(tiles)
        .put(spec.width())
        .put(spec.channels())
        .put(TensorLayout.typeCode(spec.gradientType()))
        .put(a.accumulate() ? 1 : 0);
    long blocks = (spec.channels() + REDUCE_THREADS - 1L) / REDUCE_THREADS;
    stream.launch(
        reduce, LaunchShape.of(blocks, spec.width() + 1, REDUCE_THREADS).overlappingPredecessor());
  }
}
