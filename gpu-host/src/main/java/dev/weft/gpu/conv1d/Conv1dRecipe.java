package dev.weft.gpu.conv1d;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.Tensor;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.CausalConv1dSpec.Mode;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
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
import dev.weft.spi.BackendStream;
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

  private static final KernelName PACK = KernelName.of("conv1d/weights", "conv1d_pack");
  private static final KernelName REDUCE = PACK.function("conv1d_reduce");

  private final ComputeDevice device;
  private final CausalConv1dSpec spec;
  private final int computeUnits;
  private final Conv1dArguments operands;
  private final Map<Mode, List<Compiled>> forms = new EnumMap<>(Mode.class);
  private final ComputeKernel pack;
  private final ComputeKernel reduce;

  private record Compiled(Conv1dProgram program, ComputeKernel kernel) {}

  /** Compiles every kernel that a launch of the spec may need. */
  public Conv1dRecipe(ComputeDevice device, CausalConv1dSpec spec) {
    this.device = device;
    this.spec = spec;
    this.computeUnits = device.traits().computeUnits();
    this.operands = new Conv1dArguments(spec);
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
    return new PackedWeights(device, weight, bias) {
      @Override
      public void refresh(BackendStream stream) {
        ComputeStream compute = (ComputeStream) stream;
        put(compute.arguments());
        compute.dispatch(pack, (pitch() + GROUP_SIZE - 1) / GROUP_SIZE, 1, 1, GROUP_SIZE);
      }
    };
  }

  /** The form with the widest rows that the alignment of all tensors allows. */
  private Compiled choose(Mode mode, @Nullable Tensor... rows) {
    for (Compiled candidate : forms.getOrDefault(mode, List.of())) {
      if (candidate.program.takes(rows)) {
        return candidate;
      }
    }
    throw new IllegalStateException("no form of " + mode + " for " + spec); // the last takes all
  }

  /** Of a backward pass. */
  private int mostTiles(long tokens) {
    return Conv1dPlan.backwardTiles(
        spec.channels(), spec.width(), tokens, spec.workspaceLimit(), computeUnits);
  }

  /** Work-items that own all channels together. */
  private int items(Conv1dProgram program) {
    return spec.channels() / program.vector();
  }

  @Override
  public void forward(LaunchContext context, Conv1dForward a) {
    int sequences = Math.toIntExact(a.cuSeqlens().size(0) - 1);
    if (sequences == 0) {
      return;
    }
    ComputeStream stream = ComputeStream.of(context);
    Compiled chosen = choose(Mode.FORWARD, a.x(), a.out());
    Conv1dProgram program = chosen.program;
    int tokens = TensorLayout.tokens(a.x().size(0));
    Conv1dTiles plan =
        Conv1dTiles.forward(
            items(program), tokens, sequences, computeUnits, program.residentGroups());
    long groups = plan.groups(Conv1dArguments.emptyTiles(a.initialStatesOut(), sequences));
    if (groups == 0) {
      return;
    }
    operands.put(stream.arguments(), a, program, plan.cut());
    stream.dispatch(chosen.kernel, groups, 1, 1, GROUP_SIZE);
  }

  @Override
  public void update(LaunchContext context, Conv1dUpdate a) {
    int sequences = Math.toIntExact(a.cacheIndices().size(0));
    if (a.x().elements() == 0 || sequences == 0) {
      return;
    }
    ComputeStream stream = ComputeStream.of(context);
    Compiled chosen = choose(Mode.UPDATE, a.x(), a.out());
    Conv1dTiles plan = Conv1dTiles.update(items(chosen.program), sequences, computeUnits);
    operands.put(stream.arguments(), a, chosen.program, plan.cut());
    stream.dispatch(chosen.kernel, plan.groups(0), 1, 1, GROUP_SIZE);
  }

  @Override
  public void backward(LaunchContext context, Conv1dBackward a) {
    ComputeStream.launch(context, () -> enqueue(context, a));
  }

  private void enqueue(LaunchContext context, Conv1dBackward a) {
    int sequences = Math.toIntExact(a.cuSeqlens().size(0) - 1);
    ComputeStream stream = ComputeStream.of(context);
    boolean parameters = a.dweight() != null || a.dbias() != null;
    Compiled chosen = choose(Mode.BACKWARD, a.x(), a.dout(), a.dx());
    int tokens = sequences == 0 ? 0 : TensorLayout.tokens(a.x().size(0));
    Conv1dTiles plan = Conv1dTiles.backward(items(chosen.program), tokens, mostTiles(tokens));
    BackendMemory scratch = context.workspace();
    Region partial =
        parameters && scratch != null ? new Region(scratch, context.workspaceOffset()) : null;
    long groups = plan.groups(Conv1dArguments.emptyTiles(a.dinitialStates(), sequences));
    if (groups > 0 && (parameters || a.dx() != null || a.dinitialStates() != null)) {
      operands.put(stream.arguments(), a, chosen.program, plan.cut(), tokens, partial);
      stream.dispatch(chosen.kernel, groups, 1, 1, GROUP_SIZE);
    }
    if (parameters) {
      int columns = (spec.channels() + GROUP_SIZE - 1) / GROUP_SIZE;
      operands.putSums(stream.arguments(), a, partial, plan.tiles(), columns);
      stream.dispatch(reduce, (long) columns * (spec.width() + 1), 1, 1, GROUP_SIZE);
    }
  }
}
