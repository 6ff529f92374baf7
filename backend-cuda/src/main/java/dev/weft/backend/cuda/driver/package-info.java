/**
 * The CUDA driver API: loading it safely, calling it, and what its errors mean.
 *
 * <p>JCuda binds most of it. Calls that take a stream, an event or a graph go through {@link
 * java.lang.foreign} ({@link dev.weft.backend.cuda.driver.StreamCalls}): JCuda cannot make its own
 * handle objects of a foreign stream, which interop needs, and allocates on every launch.
 */
package dev.weft.backend.cuda.driver;
