package dev.weft.conformance.mutants;

import dev.weft.Limits;
import dev.weft.OperationSpec;
import dev.weft.Tensor;
import dev.weft.conv1d.CausalConv1dSpec;
import dev.weft.conv1d.Conv1dBackward;
import dev.weft.conv1d.Conv1dForward;
import dev.weft.conv1d.Conv1dUpdate;
import dev.weft.moba.MobaAppend;
import dev.weft.moba.MobaAttentionSpec;
import dev.weft.moba.MobaBackward;
import dev.weft.moba.MobaForward;
import dev.weft.moba.MobaPaged;
import dev.weft.moe.MoeBackward;
import dev.weft.moe.MoeDispatchSpec;
import dev.weft.moe.MoeForward;
import dev.weft.moe.MoeWeights;
import dev.weft.spi.BackendBinding;
import dev.weft.spi.BackendDevice;
import dev.weft.spi.BackendKernel;
import dev.weft.spi.Conv1dKernel;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MobaKernel;
import dev.weft.spi.MoeKernel;
import org.jspecify.annotations.Nullable;

/** A device whose launches are damaged; only appending to a paged cache is right. */
final class DamagedDevice extends Mutant.MutantDevice {
  private final Damage damage;

  DamagedDevice(BackendDevice inner, Damage damage) {
    super(inner);
    this.damage = damage;
  }

  @Override
  public BackendKernel prepare(OperationSpec<?> spec) {
    return switch (inner.prepare(spec)) {
      case Conv1dKernel kernel -> new DamagedConv1d(kernel);
      case MobaKernel kernel -> new DamagedMoba(kernel);
      case MoeKernel kernel -> new DamagedMoe(kernel);
      case BackendKernel kernel -> kernel;
    };
  }

  private final class DamagedConv1d implements Conv1dKernel {
    private final Conv1dKernel inner;

    DamagedConv1d(Conv1dKernel inner) {
      this.inner = inner;
    }

    @Override
    public long workspaceBytes(CausalConv1dSpec.Mode mode, Limits limits) {
      return inner.workspaceBytes(mode, limits);
    }

    @Override
    public BackendBinding bind(Tensor weight, @Nullable Tensor bias) {
      return inner.bind(weight, bias);
    }

    @Override
    public void forward(LaunchContext context, Conv1dForward a) {
      damage.run(
          new Damage.Launch(
              context.stream(),
              a.x(),
              a.out(),
              a.cuSeqlens(),
              a.states(),
              null,
              () -> inner.forward(context, a)));
    }

    @Override
    public void update(LaunchContext context, Conv1dUpdate a) {
      damage.run(
          new Damage.Launch(
              context.stream(),
              a.x(),
              a.out(),
              a.cuSeqlens(),
              a.states(),
              null,
              () -> inner.update(context, a)));
    }

    @Override
    public void backward(LaunchContext context, Conv1dBackward a) {
      Tensor output = a.dx();
      if (output == null) {
        inner.backward(context, a);
        return;
      }
      damage.run(
          new Damage.Launch(
              context.stream(),
              a.x(),
              output,
              a.cuSeqlens(),
              null,
              null,
              () -> inner.backward(context, a)));
    }
  }

  private final class DamagedMoba implements MobaKernel {
    private final MobaKernel inner;

    DamagedMoba(MobaKernel inner) {
      this.inner = inner;
    }

    @Override
    public long workspaceBytes(MobaAttentionSpec.Mode mode, Limits limits) {
      return inner.workspaceBytes(mode, limits);
    }

    @Override
    public void forward(LaunchContext context, MobaForward a) {
      damage.run(
          new Damage.Launch(
              context.stream(),
              a.q(),
              a.out(),
              a.cuSeqlens(),
              null,
              a.selection(),
              () -> inner.forward(context, a)));
    }

    @Override
    public void backward(LaunchContext context, MobaBackward a) {
      Tensor output = a.dq();
      if (output == null) {
        inner.backward(context, a);
        return;
      }
      damage.run(
          new Damage.Launch(
              context.stream(),
              a.q(),
              output,
              a.cuSeqlens(),
              null,
              null,
              () -> inner.backward(context, a)));
    }

    @Override
    public void append(LaunchContext context, MobaAppend a) {
      inner.append(context, a);
    }

    @Override
    public void paged(LaunchContext context, MobaPaged a) {
      damage.run(
          new Damage.Launch(
              context.stream(),
              a.q(),
              a.out(),
              a.cuSeqlens(),
              null,
              a.selection(),
              () -> inner.paged(context, a)));
    }
  }

  private final class DamagedMoe implements MoeKernel {
    private final MoeKernel inner;

    DamagedMoe(MoeKernel inner) {
      this.inner = inner;
    }

    @Override
    public long workspaceBytes(MoeDispatchSpec.Mode mode, Limits limits) {
      return inner.workspaceBytes(mode, limits);
    }

    @Override
    public BackendBinding bind(MoeWeights weights) {
      return inner.bind(weights);
    }

    @Override
    public void forward(LaunchContext context, MoeForward a) {
      damage.run(
          new Damage.Launch(
              context.stream(),
              a.x(),
              a.y(),
              a.tokenCount(),
              null,
              a.ids(),
              () -> inner.forward(context, a)));
    }

    @Override
    public void backward(LaunchContext context, MoeBackward a) {
      Tensor output = a.dx();
      if (output == null) {
        inner.backward(context, a);
        return;
      }
      damage.run(
          new Damage.Launch(
              context.stream(),
              a.x(),
              output,
              a.tokenCount(),
              null,
              null,
              () -> inner.backward(context, a)));
    }
  }
}
