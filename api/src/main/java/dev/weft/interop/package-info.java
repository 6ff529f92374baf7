/**
 * Sharing memory, streams and contexts with code outside Weft, without a copy.
 *
 * <p>Interfaces only, in terms of {@code long} handles, so that any provider may implement them; a
 * device's is reached by {@link dev.weft.Device#extension}. What is wrapped stays its owner's, who
 * keeps it alive until the tensor or stream is closed and the device has been waited for.
 */
package dev.weft.interop;
