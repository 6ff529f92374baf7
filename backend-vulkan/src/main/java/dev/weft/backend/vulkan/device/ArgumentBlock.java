package dev.weft.backend.vulkan.device;

import dev.weft.gpu.Arguments;
import dev.weft.gpu.Region;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** One dispatch's arguments as a structure of the shader: each aligned to its own size. */
final class ArgumentBlock implements Arguments {
  private static final int MOST = 2048;

  private final byte[] bytes = new byte[MOST];
  private final ByteBuffer values = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);

  ArgumentBlock reset() {
    values.clear();
    return this;
  }

  @Override
  public ArgumentBlock region(@Nullable Region region) {
    return value(
        region == null ? 0L : ((VulkanMemory) region.memory()).address() + region.offset());
  }

  @Override
  public ArgumentBlock value(int value) {
    values.putInt(value);
    return this;
  }

  @Override
  public ArgumentBlock value(long value) {
    if (values.position() % Long.BYTES != 0) {
      values.putInt(0);
    }
    values.putLong(value);
    return this;
  }

  @Override
  public ArgumentBlock value(float value) {
    values.putFloat(value);
    return this;
  }

  byte[] toBytes() {
    return Arrays.copyOf(bytes, values.position());
  }
}
