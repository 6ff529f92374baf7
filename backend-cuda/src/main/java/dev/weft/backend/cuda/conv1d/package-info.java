/** Causal conv1d: chooses kernel variants and tiles, and fills their arguments. */
package dev.weft.backend.cuda.conv1d;
