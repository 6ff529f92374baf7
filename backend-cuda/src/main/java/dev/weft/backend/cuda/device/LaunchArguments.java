package dev.weft.backend.cuda.device;

import dev.weft.backend.cuda.kernels.ParameterBlock;
import dev.weft.gpu.Arguments;
import dev.weft.gpu.Region;
import org.jspecify.annotations.Nullable;

/**
 * A launch's parameters as the host code of all GPU backends writes them: a place is an address.
 * What it writes is a structure, so one that ends in 32 bits may have to be padded.
 *
 * @param block where they go
 */
public record LaunchArguments(ParameterBlock block) implements Arguments {
  @Override
  public Arguments region(@Nullable Region region) {
    block.put(TensorArguments.address(region));
    return this;
  }

  @Override
  public Arguments value(int value) {
    block.put(value);
    return this;
  }

  @Override
  public Arguments value(long value) {
    block.put(value);
    return this;
  }

  @Override
  public Arguments value(float value) {
    block.put(value);
    return this;
  }
}
