package dev.weft.gpu.moe;

import dev.weft.DataType;
import dev.weft.Limits;
import dev.weft.Support;
import dev.weft.Tensor;
import dev.weft.gpu.ComputeDevice;
import dev.weft.gpu.ComputeStream;
import dev.weft.gpu.ComputeTraits;
import dev.weft.gpu.Region;
import dev.weft.gpu.TensorLayout;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeDispatchSpec.Mode;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeSaved;
import dev.weft.moe.MoeWeights;
import dev.weft.moe.WeightFormat;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MoeKernel;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Mixture-of-experts dispatch on any device that runs compute kernels. Forward: logits, routing,
 * sort of the slots by expert, two grouped products per group of tokens (and two for the shared
 * expert), combination; few slots need no sort, and a single token no combination either.
 * Everything that depends on the routing is decided on the device.
 */
public final class MoeRecipe implements MoeKernel {
  /** A group chooses among as many experts as its local memory holds keys for. */
  static final int MOST_EXPERTS = 1024;

  private static final int LARGEST_GROUP = 256;
  private static final long LOCAL_BYTES = 32 << 10;

  static final MoePlan.Stages STAGES =
      new MoePlan.Stages() {
        @Override
        public long sortBytes(long slots, int experts) {
          return SlotSort.blockCountBytes(slots, experts);
        }

        // Few rows may come in parts.
        @Override
        public long outBytes(MoeDispatchSpec spec, long rows) {
          long pitch = MoePlan.pitch(spec.hidden(), spec.dataType());
          long parts =
              Experts.MOST_PARTS * Math.min(rows, Experts.MOST_ROWS_OF_PARTS) * Float.BYTES;
          return pitch * Math.max(rows * spec.dataType().bytes(), parts);
        }
      };

  private final MoeDispatchSpec spec;
  private final ComputeTraits traits;
  private final RoutingPass routing;
  private final SlotSort sort;
  private final Experts experts;
  private final Combination combination;
  private final @Nullable OneToken oneToken;
  private final @Nullable FewSlots fewSlots;
  private final @Nullable MoeBackwardPasses backward;

  /** Compiles every kernel that a launch of the spec may need. */
  public MoeRecipe(ComputeDevice device, MoeDispatchSpec spec) {
    this.spec = spec;
    traits = device.traits();
    routing = new RoutingPass(device, spec);
    sort = new SlotSort(device);
    experts = new Experts(device, spec);
    combination = new Combination(device, spec);
    oneToken = OneToken.of(device, spec);
    fewSlots = FewSlots.of(device, spec);
    backward =
        spec.modes().contains(Mode.BACKWARD)
            ? new MoeBackwardPasses(device, spec, routing, sort)
            : null;
  }

  /** All types, layouts and options; up to {@link #MOST_EXPERTS} experts. */
  public static Support supports(ComputeTraits traits, MoeDispatchSpec spec) {
    if (!spec.weightFormat().text().equals(WeightFormat.DENSE.text())) {
      return Support.no("weightFormat=" + spec.weightFormat().text() + ", only dense");
    }
    if (spec.experts() > MOST_EXPERTS) {
      return Support.no(spec.experts() + " experts, of at most " + MOST_EXPERTS);
    }
    return shortage(traits).map(Support::no).orElseGet(Support::yes);
  }

  private static Optional<String> shortage(ComputeTraits traits) {
    if (traits.mostGroupSize() < LARGEST_GROUP) {
      return Optional.of(
          "work-groups of at most " + traits.mostGroupSize() + ", MoE needs " + LARGEST_GROUP);
    }
    if (traits.localBytes() < LOCAL_BYTES) {
      return Optional.of(traits.localBytes() + " bytes of local memory, MoE needs " + LOCAL_BYTES);
    }
    return Optional.empty();
  }

  @Override
  public long workspaceBytes(Mode mode, Limits limits) {
    return mode == Mode.FORWARD
        ? MoePlan.bytes(spec, STAGES, limits.tokens())
        : MoeBackwardPasses.workspaceBytes(traits, spec, limits.tokens());
  }

  @Override
  public BackendBinding bind(MoeWeights weights) {
    return new BoundWeights(spec, weights);
  }

  @Override
  public void forward(LaunchContext context, MoeForward a) {
    ComputeStream stream = ComputeStream.of(context);
    ComputeStream.launch(context, () -> new Forward(stream, a, Scratch.of(context)).run());
  }

  @Override
  public void backward(LaunchContext context, MoeBackward a) {
    MoeBackwardPasses pass = Objects.requireNonNull(backward);
    ComputeStream.launch(context, () -> pass.run(context, a));
  }

  /** What one launch works on. */
  private final class Forward {
    private final ComputeStream stream;
    private final MoeForward a;
    private final Scratch scratch;
    private final BoundWeights weights;
    private final MoePlan plan;
    private final int tokens;
    private final @Nullable Region tokenCount;

    Forward(ComputeStream stream, MoeForward a, Scratch scratch) {
      this.stream = stream;
      this.a = a;
      this.scratch = scratch;
      weights = (BoundWeights) a.weights().backend();
      tokens = Math.toIntExact(a.x().size(0));
      plan = MoePlan.of(spec, STAGES, tokens);
      tokenCount = Region.ofNullable(a.tokenCount());
    }

    void run() {
      Routing routed = routing.enqueue(stream, weights.tensors(), a, plan, scratch);
      if (oneToken != null && isOneToken()) {
        oneToken.enqueue(
            stream,
            weights.routed(),
            routed,
            a.x(),
            a.y(),
            tokenCount,
            scratch.at(plan.act),
            plan.actPitch());
        return;
      }
      boolean grouped = plan.group() < tokens;
      MoeSaved saved = a.saved();
      Region zRows = grouped && saved != null && saved.z() != null ? scratch.at(plan.zRows) : null;
      if (tokens == 0 || (grouped && (saved != null || a.counts() != null))) {
        sortAll(routed, zRows);
      }
      for (long first = 0; first < tokens; first += plan.group()) {
        group(routed, (int) first, (int) Math.min(plan.group(), tokens - first), zRows);
      }
    }

    /** Whether there is one token, of which nobody asks what only a sort knows. */
    private boolean isOneToken() {
      return tokens == 1
          && a.saved() == null
          && a.counts() == null
          && TensorLayout.isAligned(a.x(), 16)
          && weights.routed().isAligned();
    }

    /** The sort of all slots, for what the caller is given where groups are sorted one by one. */
    private void sortAll(Routing routed, @Nullable Region zRows) {
      MoeSaved saved = a.saved();
      sort.enqueue(
          stream,
          new SlotSort.Work(
              routed.ids(),
              routed.idPitch(),
              tokenCount,
              0,
              tokens,
              spec.topK(),
              spec.experts(),
              spec.firstExpert(),
              spec.localExperts(),
              saved == null ? null : Region.of(saved.permutation()),
              true,
              zRows,
              Region.ofNullable(a.counts()),
              scratch.at(plan.offsets),
              null,
              0,
              null,
              0,
              scratch.at(plan.blockCounts)));
    }

    /** Sorts, if need be, computes and combines the slots of some tokens. */
    private void group(Routing all, int first, int count, @Nullable Region zRows) {
      MoeSaved saved = a.saved();
      Tensor z = saved == null ? null : saved.z();
      boolean whole = count == tokens;
      Routing routed = all.from(first);
      long rows = (long) count * spec.topK();
      boolean aligned = TensorLayout.isAligned(a.x(), 16) && weights.routed().isAligned();
      FewSlots unsorted =
          whole
                  && saved == null
                  && a.counts() == null
                  && FewSlots.takes(rows, spec.localExperts(), aligned)
              ? fewSlots
              : null;
      Experts.Variant variant = experts.choose(rows, spec.localExperts());
      SortedRows sorted =
          unsorted == null ? sort(routed, first, count, variant) : SortedRows.tokens(rows);
      DataType type = spec.dataType();
      long xPitch = TensorLayout.stride(a.x(), 0);
      ExpertWork work =
          new ExpertWork(
              weights.routed(),
              sorted,
              Region.of(a.x()).plus(first * xPitch * type.bytes()),
              xPitch,
              aligned,
              first,
              count,
              tokenCount,
              spec.topK(),
              scratch.at(plan.act),
              plan.actPitch(),
              scratch.at(plan.out),
              plan.outPitch(),
              unsorted == null ? experts.parts(rows, weights.routed(), aligned) : 1,
              Region.ofNullable(z),
              MoeCodes.pitch(z),
              zRows == null ? null : zRows.plus((long) first * spec.topK() * Integer.BYTES));
      if (unsorted == null) {
        experts.project(stream, variant, work);
        experts.down(stream, variant, work);
      } else {
        unsorted.enqueue(stream, work, routed);
      }
      ExpertWork shared = shared(work);
      if (shared != null) {
        Experts.Variant tile = experts.choose(count, 1);
        experts.project(stream, tile, shared);
        experts.down(stream, tile, shared);
      }
      Region sharedLogits =
          spec.sharedGate() ? scratch.at(plan.sharedLogits + (long) first * Float.BYTES) : null;
      combination.enqueue(stream, a.y(), routed, work, shared, sharedLogits);
    }

    /** Sorts the slots of some tokens. */
    private SortedRows sort(Routing routed, int first, int count, Experts.Variant variant) {
      MoeSaved saved = a.saved();
      boolean whole = count == tokens;
      Region permutation =
          whole && saved != null ? Region.of(saved.permutation()) : scratch.at(plan.permutation);
      SortedRows sorted =
          new SortedRows(
              permutation,
              scratch.at(plan.offsets),
              scratch.at(plan.projectTiles),
              (long) count * spec.topK());
      sort.enqueue(
          stream,
          new SlotSort.Work(
              routed.ids(),
              routed.idPitch(),
              tokenCount,
              first,
              count,
              spec.topK(),
              spec.experts(),
              spec.firstExpert(),
              spec.localExperts(),
              permutation,
              whole && saved != null,
              null,
              whole ? Region.ofNullable(a.counts()) : null,
              sorted.offsets(),
              sorted.tiles(),
              variant.tile().rows(),
              null,
              0,
              scratch.at(plan.blockCounts)));
      return sorted;
    }

    private @Nullable ExpertWork shared(ExpertWork routed) {
      ExpertWeights shared = weights.shared();
      if (shared == null) {
        return null;
      }
      boolean aligned = TensorLayout.isAligned(a.x(), 16) && shared.isAligned();
      return new ExpertWork(
          shared,
          SortedRows.tokens(routed.tokens()),
          routed.x(),
          routed.xPitch(),
          aligned,
          routed.firstToken(),
          routed.tokens(),
          tokenCount,
          1,
          scratch.at(plan.sharedAct),
          plan.sharedActPitch(),
          scratch.at(plan.sharedOut),
          plan.outPitch(),
          experts.parts(routed.tokens(), shared, aligned),
          null,
          0,
          null);
    }
  }
}
