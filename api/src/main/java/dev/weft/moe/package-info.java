/**
 * Mixture-of-experts dispatch: router, experts, shared expert and combination in one call.
 *
 * <p>Routing covers Mixtral, Qwen, OLMoE, DeepSeek-V3, gpt-oss and their kin as data: a score, a
 * correction bias for selection, groups, a normalisation and a factor; see {@link
 * dev.weft.moe.RouterSpec}.
 *
 * <p>Notation: T rows of tokens, H hidden size, I expert width, Is shared width, E experts, topK
 * slots per token.
 */
package dev.weft.moe;
