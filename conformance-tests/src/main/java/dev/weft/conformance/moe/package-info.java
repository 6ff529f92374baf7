/** The cases of MoE dispatch. */
package dev.weft.conformance.moe;
