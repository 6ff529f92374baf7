/**
 * Causal depthwise convolution over packed sequences, with states for decoding.
 *
 * <p>Sources of the semantics: Dao-AILab/causal-conv1d, and the serving forms of it in SGLang and
 * vLLM (slots, rings, speculation).
 *
 * <p>Notation: T rows of tokens, B sequences, C channels, W width, S columns of a state.
 */
package dev.weft.conv1d;
