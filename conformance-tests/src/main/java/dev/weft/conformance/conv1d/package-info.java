/** The cases of causal convolution. */
package dev.weft.conformance.conv1d;
