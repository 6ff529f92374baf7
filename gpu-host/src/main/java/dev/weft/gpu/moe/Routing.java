package dev.weft.gpu.moe;

import dev.weft.gpu.Region;
import org.jspecify.annotations.Nullable;

/**
 * The routing of all tokens on the device.
 *
 * @param ids [tokens, topK] I32; those outside of [0, E) are skipped
 * @param idPitch elements from a token's to the next
 * @param weights [tokens, topK] F32
 * @param weightPitch elements from a token's to the next
 */
record Routing(@Nullable Region ids, long idPitch, @Nullable Region weights, long weightPitch) {
  /** The same from a token on. */
  Routing from(long token) {
    return new Routing(
        ids == null ? null : ids.plus(token * idPitch * Integer.BYTES),
        idPitch,
        weights == null ? null : weights.plus(token * weightPitch * Float.BYTES),
        weightPitch);
  }
}
