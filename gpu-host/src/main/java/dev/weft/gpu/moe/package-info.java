/** Mixture-of-experts dispatch: plans for all GPU backends, recipes for the portable ones. */
@org.jspecify.annotations.NullMarked
package dev.weft.gpu.moe;
