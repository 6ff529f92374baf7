package dev.weft.fake;

import dev.weft.Limits;
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
import dev.weft.spi.BackendKernel;
import dev.weft.spi.BackendStream;
import dev.weft.spi.Conv1dKernel;
import dev.weft.spi.LaunchContext;
import dev.weft.spi.MobaKernel;
import dev.weft.spi.MoeKernel;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/** Kernels that compute nothing, but touch what they are given. */
final class FakeKernels {
  private FakeKernels() {}

  /** What the three have in common. */
  abstract static class Fake implements BackendKernel {
    final FakeDevice device;

    Fake(FakeDevice device) {
      this.device = device;
    }

    long scratch() {
      device.enter("workspaceBytes");
      return device.workspaceBytes();
    }

    /** Enqueues two steps, which other threads must not come between. */
    void launch(String name, LaunchContext context, @Nullable Tensor... tensors) {
      FakeStream stream = (FakeStream) context.stream();
      if (!device.isAlive(this)) {
        device.violation(name + " of a closed kernel");
      }
      device.note(name + " scratch " + context.workspaceBytes() + "@" + context.workspaceOffset());
      stream.exclusive(true);
      try {
        stream.submit(name, () -> touch(name, context, tensors));
        LockSupport.parkNanos(device.pauseNanos()); // lets other threads in, were they let
        stream.submit(name + " again", () -> touch(name, context, tensors));
      } finally {
        stream.exclusive(false);
      }
    }

    private void touch(String name, LaunchContext context, @Nullable Tensor... tensors) {
      device.note("run " + name);
      if (!device.isAlive(this)) {
        device.violation(name + " runs in a closed kernel");
      }
      if (context.workspace() instanceof FakeMemory memory) {
        memory
            .touch(name + " (scratch)")
            .asSlice(context.workspaceOffset(), context.workspaceBytes())
            .fill((byte) 1);
      }
      for (Tensor tensor : tensors) {
        if (tensor != null) {
          ((FakeMemory) tensor.memory()).touch(name);
        }
      }
    }

    BackendBinding bind(List<@Nullable Tensor> weights) {
      device.enter("bind");
      Fake kernel = this;
      return device.made(
          new BackendBinding() {
            @Override
            public long extraBytes() {
              return device.extraBytes();
            }

            @Override
            public void refresh(BackendStream stream) {
              ((FakeStream) stream)
                  .submit(
                      "refresh",
                      () -> {
                        device.note("refresh");
                        weights.stream()
                            .filter(Objects::nonNull)
                            .forEach(w -> ((FakeMemory) w.memory()).touch("refresh"));
                      });
            }

            @Override
            public void close() {
              device.closed(this);
              if (!device.isAlive(kernel)) {
                device.violation("a binding closed after its kernel");
              }
            }

            @Override
            public String toString() {
              return "binding";
            }
          });
    }

    @Override
    public void close() {
      device.enter("kernel close");
      device.closed(this);
    }

    @Override
    public String toString() {
      return "kernel";
    }
  }

  static final class Moba extends Fake implements MobaKernel {
    Moba(FakeDevice device) {
      super(device);
    }

    @Override
    public long workspaceBytes(MobaAttentionSpec.Mode mode, Limits limits) {
      return scratch();
    }

    @Override
    public void forward(LaunchContext context, MobaForward a) {
      launch(
          "moba.forward",
          context,
          a.q(),
          a.k(),
          a.v(),
          a.cuSeqlens(),
          a.out(),
          a.lse(),
          a.selection());
    }

    @Override
    public void backward(LaunchContext context, MobaBackward a) {
      launch("moba.backward", context, a.q(), a.dout(), a.dq(), a.dk(), a.dv());
    }

    @Override
    public void append(LaunchContext context, MobaAppend a) {
      launch("moba.append", context, a.k(), a.keyCache(), a.valueCache(), a.blockMeans());
    }

    @Override
    public void paged(LaunchContext context, MobaPaged a) {
      launch("moba.paged", context, a.q(), a.keyCache(), a.out());
    }
  }

  static final class Moe extends Fake implements MoeKernel {
    Moe(FakeDevice device) {
      super(device);
    }

    @Override
    public long workspaceBytes(MoeDispatchSpec.Mode mode, Limits limits) {
      return scratch();
    }

    @Override
    public BackendBinding bind(MoeWeights weights) {
      return bind(List.of(weights.down()));
    }

    @Override
    public void forward(LaunchContext context, MoeForward a) {
      launch("moe.forward", context, a.x(), a.y(), a.weights().weights().down());
    }

    @Override
    public void backward(LaunchContext context, MoeBackward a) {
      launch("moe.backward", context, a.x(), a.dy(), a.dx(), a.weights().weights().down());
    }
  }

  static final class Conv1d extends Fake implements Conv1dKernel {
    Conv1d(FakeDevice device) {
      super(device);
    }

    @Override
    public long workspaceBytes(CausalConv1dSpec.Mode mode, Limits limits) {
      return scratch();
    }

    @Override
    public BackendBinding bind(Tensor weight, @Nullable Tensor bias) {
      return bias == null ? bind(List.of(weight)) : bind(List.of(weight, bias));
    }

    @Override
    public void forward(LaunchContext context, Conv1dForward a) {
      launch("conv1d.forward", context, a.x(), a.out(), a.weights().weight());
    }

    @Override
    public void update(LaunchContext context, Conv1dUpdate a) {
      launch("conv1d.update", context, a.x(), a.out(), a.states());
    }

    @Override
    public void backward(LaunchContext context, Conv1dBackward a) {
      launch("conv1d.backward", context, a.x(), a.dx());
    }
  }
}
