/** MoBA attention on GPUs: plans that all backends share, and the recipe of the portable ones. */
@org.jspecify.annotations.NullMarked
package dev.weft.gpu.moba;
