/** Causal conv1d: how launches are cut, and the recipe of the portable backends. */
package dev.weft.gpu.conv1d;
