/**
 * Mixture-of-experts dispatch: routes, sorts slots by expert, runs the experts, combines. The
 * kernels say in src/main/cuda/moe how they work.
 */
package dev.weft.backend.cuda.moe;
