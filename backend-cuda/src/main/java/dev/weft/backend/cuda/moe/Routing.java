package dev.weft.backend.cuda.moe;

/**
 * The routing of all tokens on the device.
 *
 * @param ids [tokens, topK] I32; those outside of [0, E) are skipped
 * @param idPitch elements from a token's to the next
 * @param weights [tokens, topK] F32
 * @param weightPitch elements from a token's to the next
 */
record Routing(long ids, long idPitch, long weights, long weightPitch) {}
