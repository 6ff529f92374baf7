/**
 * MoBA: Mixture of Block Attention. Each query attends to its own block causally and to the past
 * blocks whose mean key scores highest against it.
 *
 * <p>Source: Lu et al., "MoBA: Mixture of Block Attention for Long-Context LLMs" (Moonshot AI,
 * 2025) and its {@code moba_naive}; made exact where that leaves a choice (ties, NaN, rounding of
 * means).
 *
 * <p>Notation: T rows of tokens, B sequences, H query heads, Hkv key-value heads (H a multiple of
 * Hkv; query head h reads kv head h / (H / Hkv)), D head size, Dv value head size.
 */
package dev.weft.moba;
