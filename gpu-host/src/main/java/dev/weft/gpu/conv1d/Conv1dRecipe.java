package dev.weft.gpu.conv1d;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.Tensor;
import dev.weft.conv1d.Activation;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeKernel;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.KernelName;
import dev.weft.gpu.MatrixUnits;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
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
 * Causal conv1d: one dispatch forward and for an update, one backward and a second where a
 * parameter gradient is asked for. The kernels {@code conv1d/*} say how they work; they use neither
 * local memory nor barriers.
 */
public final class Conv1dRecipe implements Conv1dKernel {
  private static final int GROUP_SIZE = Conv1dTiles.GROUP_SIZE;

  /** Sequences that one work-item looks through for empty ones. */
  private static final int EMPTY_PER_ITEM = 32;

  private static final KernelName PACK = KernelName.of("conv1d/weights", "conv1d_pack");
  private static final KernelName REDUCE = PACK.function("conv1d_reduce");

  private final ComputeDevice device;
  private final CausalConv1dSpec spec;
  private final int computeUnits;
  private final Map<Mode, List<Compiled>> forms = new EnumMap<>(Mode.class);
  private final ComputeKernel pack;
  private final ComputeKernel reduce;

  private record Compiled(Conv1dProgram program, ComputeKernel kernel) {}

  /** Compiles every kernel that a launch of the spec may need. */
  public Conv1dRecipe(ComputeDevice device, CausalConv1dSpec spec) {
    this.device = device;
    this.spec = spec;
    this.computeUnits = device.traits().computeUnits();
    List<Conv1dProgram> programs = new ArrayList<>();
    for (Mode mode : spec.modes()) {
      programs.addAll(Conv1dProgram.of(spec, mode));
    }
    List<KernelName> names = new ArrayList<>(List.of(PACK, REDUCE));
    programs.forEach(program -> names.add(onDevice(program)));
    List<ComputeKernel> kernels = device.kernels(names);
    pack = kernels.get(0);
    reduce = kernels.get(1);
    for (int i = 0; i < programs.size(); i++) {
      Conv1dProgram program = programs.get(i);
      forms
          .computeIfAbsent(program.mode(), mode -> new ArrayList<>())
          .add(new Compiled(program, kernels.get(i + 2)));
    }
  }

  /** All types, layouts and options; widths whose windows fit a work-item. */
  public static Support supports(ComputeTraits traits, CausalConv1dSpec spec) {
    if (spec.width() > Conv1dProgram.MOST_WIDTH) {
      return Support.no(
          "width "
              + spec.width()
              + ": there are kernels for widths up to "
              + Conv1dProgram.MOST_WIDTH);
    }
    return traits.mostGroupSize() < GROUP_SIZE
        ? Support.no(
            "groups of "
                + GROUP_SIZE
                + " work-items are needed, the device has at most "
                + traits.mostGroupSize())
        : Support.yes();
  }

  /** With NVIDIA's own instructions, where they proved themselves. */
  private KernelName onDevice(Conv1dProgram program) {
    MatrixUnits units = device.traits().matrixUnits();
    return units == MatrixUnits.NVIDIA_MMA
        ? program.kernel().with("MATRIX", units.code())
        : program.kernel();
  }

  /** Every kernel that some spec asks for; for builds that compile all of them ahead. */
  public static List<KernelName> kernels() {
    List<KernelName> names = new ArrayList<>(List.of(PACK, REDUCE));
    Conv1dProgram.all().forEach(program -> names.add(program.kernel()));
    return names;
  }

  @Override
  public long workspaceBytes(Mode mode, Limits limits) {
    return mode == Mode.BACKWARD
        ? mostTiles(limits.tokens()) * Conv1dPlan.partialBytes(spec.channels(), spec.width())
        : 0;
  }

  @Override
  public BackendBinding bind(Tensor weight, @Nullable Tensor bias) {
    return new PackedWeights(device, pack, GROUP_SIZE, weight, bias);
  }

  /** The form with the widest rows that the alignment of all tensors allows. */
  private Compiled choose(Mode mode, @Nullable Tensor... rows) {
    for (Compiled candidate : forms.getOrDefault(mode, List.of())) {
      boolean fits = true;
      for (Tensor tensor : rows) {
        fits &= TensorLayout.isAligned(tensor, candidate.program.alignment());
      }
      if (fits) {
        return candidate;
      }
    }
    throw new IllegalStateException("no form of " + mode + " for " + spec); // the last takes all
  }

  /** The activation, and what only kernels of the form that takes anything look at. */
  private void putSpec(Arguments arguments) {
    arguments
        .value(spec.activation() == Activation.SILU ? 1 : 0)
        .value(spec.width())
        .value(TensorLayout.typeCode(spec.dataType()))
        .value(TensorLayout.typeCode(spec.stateType()));
  }

  /** Of a backward pass. */
  private int mostTiles(long tokens) {
    // As many groups again as a compute unit holds more than CUDA's three.
    boolean four = device.traits().matrixUnits() == MatrixUnits.COOPERATIVE;
    return Conv1dPlan.backwardTiles(
        spec.channels(),
        spec.width(),
        tokens,
        spec.workspaceLimit(),
        four ? computeUnits * 4 / 3 : computeUnits);
  }

  /** Work-items that own all channels together. */
  private int items(Conv1dProgram program) {
    return spec.channels() / program.vector();
  }

  /** Tiles of work-items that look for empty sequences. */
  private static int emptyTiles(int sequences) {
    return (sequences + EMPTY_PER_ITEM - 1) / EMPTY_PER_ITEM;
  }

  @Override
  public void forward(LaunchContext context, Conv1dForward a) {
    int sequences = Math.toIntExact(a.cuSeqlens().size(0) - 1);
    if (sequences == 0) {
      return;
    }
    ComputeStream stream = ComputeStream.of(context);
    PackedWeights weights = (PackedWeights) a.weights().backend();
    Tensor states = a.states();
    Compiled chosen = choose(Mode.FORWARD, a.x(), a.out());
    Conv1dProgram program = chosen.program;
    int tokens = TensorLayout.tokens(a.x().size(0));
    Conv1dTiles plan =
        Conv1dTiles.forward(
            items(program),
            tokens,
            sequences,
            computeUnits,
            program.residentGroups(device.traits().matrixUnits()));
    int emptyTiles = a.initialStatesOut() == null ? 0 : emptyTiles(sequences);
    long groups = plan.groups(emptyTiles);
    if (groups == 0) {
      return;
    }
    Arguments arguments =
        stream
            .arguments()
            .region(Region.of(a.x()))
            .region(Region.of(a.out()))
            .region(weights.region())
            .region(Region.of(a.cuSeqlens()))
            .region(Region.ofNullable(a.cacheIndices()))
            .region(Region.ofNullable(a.hasInitialState()))
            .region(Region.ofNullable(a.cacheSeqlens()));
    Conv1dStates.put(arguments, states, program);
    Conv1dStates.put(arguments, a.initialStatesOut(), program);
    arguments
        .value(TensorLayout.stride(a.x(), 0))
        .value(TensorLayout.stride(a.out(), 0))
        .value(weights.pitch())
        .value(states == null ? 0L : states.size(0))
        .value(tokens)
        .value(sequences)
        .value(states == null ? 0 : Math.toIntExact(states.size(2)))
        .value(plan.tile())
        .value(plan.tiles())
        .value(plan.items())
        .value(spec.padSlotId());
    putSpec(arguments);
    arguments.value(EMPTY_PER_ITEM);
    stream.dispatch(chosen.kernel, groups, 1, 1, GROUP_SIZE);
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
    ComputeStream stream = ComputeStream.of(context);
    PackedWeights weights = (PackedWeights) a.weights().backend();
    Tensor states = a.states();
    Compiled chosen = choose(Mode.UPDATE, x, out);
    Conv1dProgram program = chosen.program;
    Conv1dTiles plan = Conv1dTiles.update(items(program), sequences, computeUnits);
    int token = lengths == null ? 1 : 0; // the dimension of tokens
    Arguments arguments =
        stream
            .arguments()
            .region(Region.of(x))
            .region(Region.of(out))
            .region(weights.region())
            .region(Region.ofNullable(lengths))
            .region(Region.of(a.cacheIndices()))
            .region(Region.ofNullable(a.cacheSeqlens()))
            .region(Region.ofNullable(a.numAccepted()));
    Conv1dStates.put(arguments, states, program);
    arguments
        .value(lengths == null ? TensorLayout.stride(x, 0) : 0L)
        .value(TensorLayout.stride(x, token))
        .value(lengths == null ? TensorLayout.stride(out, 0) : 0L)
        .value(TensorLayout.stride(out, token))
        .value(weights.pitch())
        .value(states.size(0))
        .value(lengths == null ? 0 : TensorLayout.tokens(x.size(0)))
        .value(sequences)
        .value(Math.toIntExact(states.size(2)))
        .value(lengths == null ? Math.toIntExact(x.size(1)) : 0)
        .value(plan.tile())
        .value(plan.items())
        .value(spec.padSlotId());
    putSpec(arguments);
    stream.dispatch(chosen.kernel, plan.groups(0), 1, 1, GROUP_SIZE);
  }

  @Override
  public void backward(LaunchContext context, Conv1dBackward a) {
    ComputeStream.launch(context, () -> enqueue(context, a));
  }

  private void enqueue(LaunchContext context, Conv1dBackward a) {
    int sequences = Math.toIntExact(a.cuSeqlens().size(0) - 1);
    ComputeStream stream = ComputeStream.of(context);
    PackedWeights weights = (PackedWeights) a.weights().backend();
    boolean parameters = a.dweight() != null || a.dbias() != null;
    Compiled chosen = choose(Mode.BACKWARD, a.x(), a.dout(), a.dx());
    int tokens = sequences == 0 ? 0 : TensorLayout.tokens(a.x().size(0));
    Conv1dTiles plan = Conv1dTiles.backward(items(chosen.program), tokens, mostTiles(tokens));
    BackendMemory scratch = context.workspace();
    Region partial =
        parameters && scratch != null ? new Region(scratch, context.workspaceOffset()) : null;
    int emptyTiles = a.dinitialStates() == null ? 0 : emptyTiles(sequences);
    long groups = plan.groups(emptyTiles);
    if (groups > 0 && (parameters || a.dx() != null || a.dinitialStates() != null)) {
      putPass(stream.arguments(), weights, a, chosen.program, plan, tokens, partial);
      stream.dispatch(chosen.kernel, groups, 1, 1, GROUP_SIZE);
    }
    if (parameters) {
      reduce(stream, weights, a, partial, plan.tiles());
    }
  }

  private void putPass(
      Arguments arguments,
      PackedWeights weights,
      Conv1dBackward a,
      Conv1dProgram program,
      Conv1dTiles plan,
      int tokens,
      @Nullable Region partial) {
    Tensor dx = a.dx();
    arguments
        .region(Region.of(a.x()))
        .region(Region.of(a.dout()))
        .region(Region.ofNullable(dx))
        .region(weights.region())
        .region(Region.of(a.cuSeqlens()))
        .region(Region.ofNullable(a.cacheIndices()))
        .region(Region.ofNullable(a.hasInitialState()));
    Conv1dStates.put(arguments, a.initialStates(), program);
    Conv1dStates.put(arguments, a.dfinalStates(), program);
    Conv1dStates.put(arguments, a.dinitialStates(), program);
    arguments
        .region(partial)
        .value(TensorLayout.stride(a.x(), 0))
        .value(TensorLayout.stride(a.dout(), 0))
        .value(dx == null ? 0L : TensorLayout.stride(dx, 0))
        .value(weights.pitch())
        .value(tokens)
        .value(Math.toIntExact(a.cuSeqlens().size(0) - 1))
        .value(spec.padSlotId())
        .value(plan.tile())
        .value(plan.tiles())
        .value(plan.items())
        .value(EMPTY_PER_ITEM);
    putSpec(arguments);
  }

  private void reduce(
      ComputeStream stream,
      PackedWeights weights,
      Conv1dBackward a,
      @Nullable Region partial,
      int tiles) {
    Tensor dweight = a.dweight();
    int columns = (spec.channels() + GROUP_SIZE - 1) / GROUP_SIZE;
    stream
        .arguments()
        .region(partial)
        .region(Region.ofNullable(dweight))
        .region(Region.ofNullable(a.dbias()))
        .value(weights.pitch())
        .value(dweight == null ? 0L : TensorLayout.stride(dweight, 0))
        .value(tiles)
        .value(spec.width())
        .value(spec.channels())
        .value(columns)
        .value(TensorLayout.typeCode(spec.gradientType()))
        .value(a.accumulate() ? 1 : 0);
    stream.dispatch(reduce, (long) columns * (spec.width() + 1), 1, 1, GROUP_SIZE);
  }
}
