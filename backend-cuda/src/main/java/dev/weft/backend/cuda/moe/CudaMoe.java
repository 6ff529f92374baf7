package dev.weft.backend.cuda.moe;

import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.Tensor;
import dev.weft.backend.cuda.device.CudaDevice;
import dev.weft.backend.cuda.device.CudaMemory;
import dev.weft.backend.cuda.device.CudaStream;
import dev.weft.backend.cuda.device.TensorArguments;
import dev.weft.gpu.TensorLayout;
import dev.weft.gpu.moe.BoundWeights;
import dev.weft.gpu.moe.ExpertWeights;
import dev.weft.gpu.moe.MoePlan;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeDispatchSpec.Mode;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.WeightFormat;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.BackendMemory;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MoeKernel;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Mixture-of-experts dispatch on a GPU. Forward: logits, routing, sort of the slots by expert, two
 * grouped products per group of tokens (and two for the shared expert), combination. Everything
 * that depends on the routing is decided on the device.
 */
public final class CudaMoe implements MoeKernel {
  /** A warp chooses among as many experts as its shared memory holds keys for. */
  static final int MOST_EXPERTS = 1024;

  private final MoeDispatchSpec spec;
  private final RoutingPass routing;
  private final SlotSort sort;
  private final Combination combination;
  private final List<ExpertKernels> experts;
  private final @Nullable MoeBackwardPasses backward;

  /** Finds every kernel that a launch of the spec may need. */
  public CudaMoe(CudaDevice device, MoeDispatchSpec spec) {
    this.spec = spec;
    routing = new RoutingPass(device, spec);
    sort = new SlotSort(device);
    combination = new Combination(device, spec);
    experts =
        Stream.concat(
                HopperExperts.find(device, spec).stream().map(ExpertKernels.class::cast),
                Stream.of(new GenericExperts(device, spec)))
            .toList();
    backward = spec.modes().contains(Mode.BACKWARD) ? new MoeBackwardPasses(device, spec) : null;
  }

  /** All types, layouts and options; up to {@link #MOST_EXPERTS} experts. */
  public static Support supports(MoeDispatchSpec spec) {
    if (!spec.weightFormat().text().equals(WeightFormat.DENSE.text())) {
      return Support.no("weightFormat=" + spec.weightFormat().text() + ", only dense");
    }
    return spec.experts() <= MOST_EXPERTS
        ? Support.yes()
        : Support.no(
            spec.experts() + " experts: the CUDA backend routes among at most " + MOST_EXPERTS);
  }

  @Override
  public long workspaceBytes(Mode mode, Limits limits) {
    return mode == Mode.FORWARD
        ? MoePlan.bytes(spec, CudaMoe::sortBytes, limits.tokens())
        : MoeBackwardPasses.workspaceBytes(spec, limits.tokens());
  }

  @Override
  public BackendBinding bind(MoeWeights weights) {
    return new BoundWeights(spec, weights);
  }

  @Override
  public void forward(LaunchContext context, MoeForward a) {
    CudaStream stream = (CudaStream) context.stream();
    BoundWeights weights = (BoundWeights) a.weights().backend();
    int tokens = Math.toIntExact(a.x().size(0));
    MoePlan plan = MoePlan.of(spec, CudaMoe::sortBytes, tokens);
    BackendMemory memory = context.workspace();
    long scratch = memory == null ? 0 : ((CudaMemory) memory).address() + context.workspaceOffset();
    Routing routed = routing.enqueue(stream, weights.tensors(), a, plan, scratch);
    boolean grouped = plan.group() < tokens;
    MoeSaved saved = a.saved();
    long zRows = grouped && saved != null && saved.z() != null ? scratch + plan.zRows : 0;
    if (tokens == 0 || (grouped && (saved != null || a.counts() != null))) {
      sort.enqueue(stream, wholeSort(a, routed, plan, scratch, tokens, zRows));
    }
    for (long first = 0; first < tokens; first += plan.group()) {
      int count = (int) Math.min(plan.group(), tokens - first);
      group(stream, weights, a, plan, scratch, routed, (int) first, count, zRows);
    }
  }

  @Override
  public void backward(LaunchContext context, MoeBackward a) {
    Objects.requireNonNull(backward).run(context, a);
  }

  /** Counters of work, then the counts of the sort's blocks. */
  private static long sortBytes(long slots, int experts) {
    return counterBytes(experts) + counterBytes(1) + SlotSort.blockCountBytes(slots, experts);
  }

  /** Of some experts; the shared one's follow those of the local ones. */
  private static long counterBytes(int experts) {
    return (long) ExpertWork.counters(experts) * Integer.BYTES;
  }

  private static long counters(MoePlan plan, long scratch) {
    return scratch + plan.blockCounts;
  }

  private long sharedCounters(MoePlan plan, long scratch) {
    return counters(plan, scratch) + counterBytes(spec.localExperts());
  }

  private long blockCounts(MoePlan plan, long scratch) {
    return sharedCounters(plan, scratch) + counterBytes(1);
  }

  /** The sort of all slots, for what the caller is given where groups are sorted one by one. */
  private SlotSort.Work wholeSort(
      MoeForward a, Routing routed, MoePlan plan, long scratch, int tokens, long zRows) {
    MoeSaved saved = a.saved();
    return new SlotSort.Work(
        routed.ids(),
        routed.idPitch(),
        TensorArguments.address(a.tokenCount()),
        0,
        tokens,
        spec.topK(),
        spec.experts(),
        spec.firstExpert(),
        spec.localExperts(),
        saved == null ? 0 : TensorArguments.address(saved.permutation()),
        true,
        zRows,
        TensorArguments.address(a.counts()),
        scratch + plan.offsets,
        0,
        0,
        0,
        0,
        blockCounts(plan, scratch),
        0,
        0);
  }

  /** Sorts, computes and combines the slots of some tokens. */
  private void group(
      CudaStream stream,
      BoundWeights weights,
      MoeForward a,
      MoePlan plan,
      long scratch,
      Routing routed,
      int first,
      int tokens,
      long zRows) {
    Tensor x = a.x();
    MoeSaved saved = a.saved();
    Tensor z = saved == null ? null : saved.z();
    boolean whole = tokens == x.size(0);
    long xPitch = TensorLayout.stride(x, 0);
    long xAddress = TensorArguments.address(x) + first * xPitch * spec.dataType().bytes();
    boolean xAligned = TensorLayout.isAligned(x, 16);
    long count = TensorArguments.address(a.tokenCount());
    ExpertShape shape =
        new ExpertShape(spec, weights.routed(), false, xAligned, xPitch, tokens, z != null);
    Chosen chosen = choose(shape);
    ExpertKernels.Tiling tiling = chosen.tiling;
    long permutation =
        whole && saved != null
            ? TensorArguments.address(saved.permutation())
            : scratch + plan.permutation;
    SortedRows rows =
        new SortedRows(
            permutation,
            scratch + plan.offsets,
            tiling.projectRows() == 0 ? 0 : scratch + plan.projectTiles,
            tiling.downRows() == 0 ? 0 : scratch + plan.downTiles,
            shape.mostRows());
    sort.enqueue(
        stream,
        new SlotSort.Work(
            routed.ids() + first * routed.idPitch() * Integer.BYTES,
            routed.idPitch(),
            count,
            first,
            tokens,
            spec.topK(),
            spec.experts(),
            spec.firstExpert(),
            spec.localExperts(),
            permutation,
            whole && saved != null,
            0,
            whole ? TensorArguments.address(a.counts()) : 0,
            rows.offsets(),
            rows.projectTiles(),
            tiling.projectRows(),
            rows.downTiles(),
            tiling.downRows(),
            blockCounts(plan, scratch),
            counters(plan, scratch),
            ExpertWork.counters(spec.localExperts()) + ExpertWork.counters(1)));
    ExpertWork work =
        new ExpertWork(
            spec,
            weights.routed(),
            rows,
            xAddress,
            xPitch,
            xAligned,
            first,
            tokens,
            count,
            scratch + plan.act,
            plan.actPitch(),
            scratch + plan.out,
            plan.outPitch(),
            TensorArguments.address(z),
            z == null ? 0 : TensorLayout.stride(z, 0),
            zRows == 0 ? 0 : zRows + (long) first * spec.topK() * Integer.BYTES,
            routed.ids() + first * routed.idPitch() * Integer.BYTES,
            routed.idPitch(),
            counters(plan, scratch));
    chosen.kernels.enqueue(stream, work, tiling);
    ExpertWeights shared = weights.shared();
    if (shared != null) {
      shared(stream, shared, work, plan, scratch);
    }
    combination.enqueue(stream, a, weights, routed, work, plan, scratch);
  }

  private void shared(
      CudaStream stream, ExpertWeights weights, ExpertWork routed, MoePlan plan, long scratch) {
    Chosen chosen =
        choose(
            new ExpertShape(
                spec, weights, true, routed.xAligned(), routed.xPitch(), routed.tokens(), false));
    ExpertWork work =
        new ExpertWork(
            spec,
            weights,
            SortedRows.tokens(routed.tokens()),
            routed.x(),
            routed.xPitch(),
            routed.xAligned(),
            routed.firstToken(),
            routed.tokens(),
            routed.tokenCount(),
            scratch + plan.sharedAct,
            plan.sharedActPitch(),
            scratch + plan.sharedOut,
            plan.outPitch(),
            0,
            0,
            0,
            0,
            0,
            sharedCounters(plan, scratch));
    chosen.kernels.enqueue(stream, work, chosen.tiling);
  }

  private record Chosen(ExpertKernels kernels, ExpertKernels.Tiling tiling) {}

  /** The first kernels that take a launch. */
  private Chosen choose(ExpertShape shape) {
    for (ExpertKernels kernels : experts) {
      ExpertKernels.@Nullable Tiling tiling = kernels.tiling(shape).orElse(null);
      if (tiling != null) {
        return new Chosen(kernels, tiling);
      }
    }
    throw new IllegalStateException("no kernels for " + spec); // the generic ones take all
  }
}
